import subprocess
import sys
import unicodedata

import pytest

from rewards import make_attempt
from rewards.language import _ENGLISH, _SPANISH, detect_language, language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The last digit is seven.", "en"),
        ("La última cifra es siete.", "es"),
        ("Por tanto, el resultado de la suma es mayor que cinco.", "es"),
        ("마지막 자리는 칠입니다.", "ko"),
        ("한국어 답변 with a few English words", "en"),
        ("이 함수는 list와 dict를 받아서 JSON으로 바꿉니다.", "ko"),
        ("最後の数字は七です。", "ja"),
        ("最后一位数字是七。", "zh"),
        ("Последняя цифра — семь.", "ru"),
        ("مرحبا بالعالم", "ar"),
        ("Η απάντηση είναι επτά.", "el"),
        ("คำตอบคือเจ็ด", "th"),
        ("उत्तर सात है और यह सही है।", "hi"),
        ("პასუხი არის შვიდი", "other"),
        ("Use `la respuesta es el número` as the title of the page.", "en"),
        ("$$la y el$$ This is it.", "en"),
        (r"\(el\) y \[la\] This is the one.", "en"),
        ("", None),
        ("12 + 30 = 42", None),
        (r"$\frac{1}{2}$", None),
        ("x", None),
        ("α + β = γ", None),
        ("Si α + β = γ, entonces la suma de los ángulos es α.", "es"),
        ("Madrid", None),
    ],
)
def test_the_language_of_most_words_is_told(text: str, expected: str | None) -> None:
    assert detect_language(text) == expected


def test_decomposed_letters_count_as_composed_ones() -> None:
    for text in ("정답은 칠입니다", "¿Cuál es?"):
        assert detect_language(unicodedata.normalize("NFD", text)) == detect_language(text) is not None


def test_only_the_beginning_of_a_very_long_text_is_read() -> None:
    assert detect_language("the answer is here. " * 1_000 + "정답 " * 100_000) == "en"


SENTENCES = {
    "en": ("Nobody came to dinner.", "When the train finally arrived, the passengers had already decided to walk on."),
    "es": ("Nadie vino a cenar.", "Cuando por fin llegó el tren, los pasajeros ya habían decidido seguir a pie."),
    "fr": ("Personne n'est venu dîner.", "Quand le train est enfin arrivé, les voyageurs ont décidé de marcher."),
    "de": ("Niemand kam zum Essen.", "Als der Zug endlich eintraf, hatten die Reisenden schon beschlossen zu gehen."),
    "pt": ("Ninguém veio jantar.", "Quando o trem finalmente chegou, os passageiros já tinham decidido caminhar."),
    "it": ("Nessuno è venuto a cena.", "Quando il treno è finalmente arrivato, i passeggeri erano già partiti."),
    "nl": ("Niemand kwam eten.", "Toen de trein eindelijk aankwam, hadden de reizigers al besloten te gaan lopen."),
    "pl": ("Nikt nie przyszedł na kolację.", "Gdy pociąg wreszcie przyjechał, podróżni postanowili już pójść pieszo."),
    "vi": ("Không ai đến ăn tối.", "Khi tàu cuối cùng cũng đến, hành khách đã quyết định đi bộ."),
}


@pytest.mark.parametrize("asked", SENTENCES)
@pytest.mark.parametrize("spoken", SENTENCES)
def test_only_an_answer_in_the_language_that_was_asked_for_is_right(asked: str, spoken: str) -> None:
    for answer in SENTENCES[spoken]:
        verdict = language(make_attempt(answer, {"language": asked}))
        assert verdict.score == (asked == spoken), verdict
        assert verdict.outcome is None


@pytest.mark.parametrize(
    ("spoken", "answers"),
    [
        ("en", ["It is 7.", "So x = 7.", "Thus, 7.", "We get 7.", "Answer: 7", "Yes.", "The last digit is 7."]),
        ("es", ["Es 7.", "Por tanto, 7.", "Eso da 7.", "Respuesta: 7", "Sí.", "Hay 3.", "La última cifra es 7."]),
        ("ko", ["7입니다.", "네.", "답: 7개"]),
    ],
)
def test_an_answer_of_a_word_or_two_is_told_too(spoken: str, answers: list[str]) -> None:
    for answer in answers:
        for asked in ("en", "es", "ko"):
            verdict = language(make_attempt(answer, {"language": asked}))
            assert verdict.score == (asked == spoken), (answer, verdict)


def test_no_function_word_counts_for_both_languages() -> None:
    assert not _ENGLISH & _SPANISH


def test_without_a_language_in_the_row_the_last_question_decides() -> None:
    prompt = [
        {"role": "system", "content": "You are a careful assistant who answers in full sentences."},
        {"role": "user", "content": "What is the capital of France, and since when?"},
        {"role": "assistant", "content": "It is Paris, and it has been for centuries."},
        {"role": "user", "content": "¿Y cuál es la capital de Italia, y desde cuándo?"},
    ]
    assert language(make_attempt({"answer": "Es Roma, desde hace más de un siglo.", "prompt": prompt}, {})).score == 1
    assert language(make_attempt({"answer": "It is Rome, for more than a century.", "prompt": prompt}, {})).score == 0
    assert language(make_attempt({"answer": "It is Rome.", "prompt": prompt[:1]}, {})).score is None


def test_the_reward_is_imported_without_its_detector() -> None:
    code = "import sys, rewards.language; assert not {'py3langid', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
