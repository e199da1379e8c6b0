import unicodedata

import pytest

from rewards.language import _ENGLISH, _SPANISH, detect_language


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
        ("последняя цифра", "other"),
        ("مرحبا بالعالم", "other"),
        ("Use `la respuesta es el número` as the title of the page.", "en"),
        ("$$la y el$$ This is it.", "en"),
        (r"\(el\) y \[la\] This is the one.", "en"),
        ("", None),
        ("12 + 30 = 42", None),
        (r"$\frac{1}{2}$", None),
        ("x", None),
        ("Madrid", None),
    ],
)
def test_the_language_of_most_words_is_told(text: str, expected: str | None) -> None:
    assert detect_language(text) == expected


def test_decomposed_letters_count_as_composed_ones() -> None:
    for text in ("정답은 칠입니다", "¿Cuál es?"):
        assert detect_language(unicodedata.normalize("NFD", text)) == detect_language(text) is not None


def test_no_word_counts_for_both_languages() -> None:
    assert not _ENGLISH & _SPANISH


def test_only_the_beginning_of_a_very_long_text_is_read() -> None:
    assert detect_language("the answer is here. " * 1_000 + "정답 " * 100_000) == "en"
