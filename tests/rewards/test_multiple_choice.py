import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import Verdict, make_attempt
from rewards.multiple_choice import multiple_choice

OPTIONS = ["an increase", "a decrease", "no change", "first an increase, then a decrease"]


def grade(answer: str, gold: str = "B", options: object = None) -> Verdict:
    row = {"answer": gold} if options is None else {"answer": gold, "options": options}
    return multiple_choice(make_attempt(answer, row))


@given(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
def test_every_spelling_of_a_letter_is_that_letter_and_no_other(gold: str, letter: str) -> None:
    for spelling in (
        letter,
        letter.lower(),
        f"({letter})",
        f"[{letter}]",
        f"{letter}.",
        f"{letter})",
        f"{letter}:",
        f"**{letter}**",
        rf"\text{{{letter}}}",
        rf"\mathrm{{({letter})}}",
        rf"\textbf{{{letter}.}}",
        f"Option {letter}",
        f"opción {letter}",
        f"{letter}) 12 m/s",
    ):
        assert grade(rf"\boxed{{{spelling}}}", gold).outcome is (letter == gold), spelling


@pytest.mark.parametrize("separator", [", ", " or ", " and ", "/", "; ", " & ", "", " ", " o ", " 또는 ", "와 ", "\n"])
@pytest.mark.parametrize("form", ["{}", "({})", "{}.", "{})", r"\text{{{}}}"])
@pytest.mark.parametrize("options", [None, OPTIONS], ids=["letters", "options"])
def test_no_list_of_options_is_right_whatever_the_gold(separator: str, form: str, options: object) -> None:
    for letters in ("AB", "BA", "ABC", "DCBA"):
        listed = separator.join(form.format(letter) for letter in letters)
        for gold in "ABCD":
            for answer in (rf"\boxed{{{listed}}}", f"The answer is {listed}"):
                assert grade(answer, gold, options).outcome is False, answer


@pytest.mark.parametrize("separator", [", ", " or ", "\n", "; ", " "])
@pytest.mark.parametrize("has_labels", [False, True])
def test_an_echo_of_the_options_is_wrong_whatever_the_gold(separator: str, has_labels: bool) -> None:
    texts = [f"{letter}) {text}" if has_labels else text for letter, text in zip("ABCD", OPTIONS, strict=True)]
    for count in (2, 3, 4):
        for some in itertools.permutations(texts, count):
            for gold in "ABCD":
                assert grade(rf"\boxed{{{separator.join(some)}}}", gold, OPTIONS).outcome is False


def test_a_text_that_begins_like_a_label_is_an_options_text() -> None:
    options = ["S. aureus", "E. coli", "V. cholerae"]
    assert grade(r"\boxed{E. coli}", "B", options).outcome is True
    assert grade(r"\boxed{E}", "B", options).outcome is False


@pytest.mark.parametrize("index", range(4))
def test_an_options_text_is_its_letter_even_where_it_holds_other_options(index: int) -> None:
    gold = "ABCD"[index]
    for answer in (OPTIONS[index], f"{gold}. {OPTIONS[index]}", OPTIONS[index].upper()):
        assert grade(rf"\boxed{{{answer}}}", gold, OPTIONS).outcome is True
        assert grade(rf"\boxed{{{answer}}}", OPTIONS[index], dict(zip("ABCD", OPTIONS, strict=True))).outcome is True


@pytest.mark.parametrize(
    "answer",
    [
        "The correct answer is B",
        "So, the answer is: (B).",
        "Therefore the best option is B.",
        "Final answer: **B**",
        "1 is odd, so it is out. Hence, the answer is B",
        "정답은 B이다.",
        "따라서 답은 (B)입니다.",
        "정답: B",
        "La respuesta correcta es la B.",
        "Entonces la opción correcta es (B).",
        "Respuesta: B",
    ],
)
def test_a_closing_phrase_is_read_in_three_languages(answer: str) -> None:
    assert grade(f"A is the first letter.\n\n{answer}\n").outcome is True
    assert grade(f"A is the first letter.\n\n{answer}\n", gold="A").outcome is False


@pytest.mark.parametrize(
    "answer",
    [
        "I doubt that the answer is B",
        "The answer is not B",
        "The answer is B?! C",
        "The answer is B because A is too small",
        "Is it B? The answer is hard to tell",
        "la respuesta no es B",
        "정답은 B가 아니다",
        "The answer is a banana",
        "B is what I was told",
        "The answer is B.\n\nOr so they say.",
    ],
)
def test_words_that_leave_it_open_are_no_closing_phrase(answer: str) -> None:
    assert grade(answer).outcome is False


@pytest.mark.parametrize(
    ("gold", "options", "cause"),
    [
        ("E", OPTIONS, "need one of A, B, C, D or the text of one"),
        ("a fall", OPTIONS, "need one of A, B, C, D or the text of one"),
        ("12 m", None, "need a letter A-Z"),
        (2, OPTIONS, "is int"),
        ("A", ["one"], "at least two"),
        ("A", ["one", ""], "need letters A-Z with a text each"),
        ("A", {"1": "one", "2": "two"}, "need letters A-Z with a text each"),
        ("A", "one, two", "need at most 26 texts or a mapping"),
        ("B", ["B", "C"], "names B and is the text of A"),
    ],
)
def test_a_broken_row_is_not_the_models_fault(gold: object, options: object, cause: str) -> None:
    verdict = multiple_choice(make_attempt(r"\boxed{A}", {"answer": gold, "options": options}))
    assert verdict.score is None
    assert cause in verdict.reason
