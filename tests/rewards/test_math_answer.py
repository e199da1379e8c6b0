"""Which answer is graded against which gold, and what neither may break."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import Verdict, make_attempt
from rewards._boxed import last_box
from rewards.math_answer import math_answer
from tests.rewards.math_attempts import grade


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{7}", "7"),
        (r"\boxed{\frac{1}{2}} done", r"\frac{1}{2}"),
        (r"\boxed{1} \boxed{2}", "2"),
        (r"\boxed{1} \boxed{2", "1"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{}", ""),
        (r"} \boxed{7} {", "7"),
        (r"\boxed 7", None),
        (r"boxed{7}", None),
    ],
)
def test_the_last_balanced_box_is_taken(text: str, content: str | None) -> None:
    assert last_box(text) == content


@given(st.integers())
def test_an_integer_is_right_in_every_spelling_and_its_neighbours_are_wrong(n: int) -> None:
    for spelling in (
        f"{n}",
        f"{n:,}",
        f"{n:,}".replace(",", "{,}"),
        f"{n:,}".replace(",", r"\,"),
        f"{n}.0",
        f"x = {n}",
    ):
        assert grade(str(n), spelling).outcome is True
    assert grade(str(n), str(n + 1)).outcome is False
    assert grade(str(n), f"{n - 1}+1").outcome is False


@given(st.fractions(max_denominator=10**6), st.integers(min_value=2, max_value=99))
def test_a_fraction_need_not_be_reduced_but_must_be_equal(gold: Fraction, factor: int) -> None:
    top, bottom = gold.as_integer_ratio()
    text = rf"\frac{{{top}}}{{{bottom}}}"
    assert grade(text, rf"\frac{{{factor * top}}}{{{factor * bottom}}}").outcome is True
    assert grade(text, rf"\frac{{{factor * top + 1}}}{{{factor * bottom}}}").outcome is False


def test_integers_are_compared_at_any_length() -> None:
    gold = "9" * 4_999 + "8"
    assert grade(gold, gold).outcome is True
    assert grade(gold, f"{10**4300 - 1}").outcome is False
    assert grade(gold, "9" * 5_000).outcome is False
    assert grade(",".join(["123"] * 1_500), "123" * 1_500).outcome is True


def test_a_decimal_comma_counts_in_spanish_rows_only() -> None:
    assert grade("3.5", "3,5", language="es").outcome is True
    assert grade("3.5", "3,5", language="en").outcome is False
    assert grade("1234", "1.234", language="es").outcome is True
    assert grade("1.234", "1.234", language="es").outcome is True
    assert grade("1234567.5", r"1.234.567,5\text{ €}", language="es").outcome is True
    assert grade("1.5,2.5", "1,5; 2,5", language="es").outcome is True


def test_a_box_in_the_thinking_is_not_an_answer() -> None:
    attempt = make_attempt({"thinking": r"\boxed{7}", "answer": "Done."}, {"answer": "7"})
    assert math_answer(attempt).reason == r"no \boxed{...} in the answer"


def test_a_truncated_attempt_without_a_box_is_wrong_and_says_so() -> None:
    attempt = make_attempt({"thinking": "so", "answer": "", "is_truncated": True}, {"answer": "7"})
    assert math_answer(attempt) == Verdict(0.0, outcome=False, reason="truncated")


def test_a_gold_answer_may_come_in_its_own_box() -> None:
    assert grade(r"\boxed{7}", "7").outcome is True
    assert grade(r"\boxed{7}", "8").outcome is False


UNREADABLE = [
    "",
    "  ",
    "$$",
    r"\boxed{}",
    "x" * 301,
    "9^{9^{9}}",
    r"\frac{",
    r"\frac{1}{0}",
    r"\frac{\pi}{0}",
    r"\frac{1}{\pi-\pi}",
    "foo(bar",
]


@pytest.mark.parametrize("gold", [None, 7, ["7"], *UNREADABLE])
def test_a_broken_gold_answer_is_not_the_models_fault(gold: object) -> None:
    for answer in (r"\boxed{\pi+1}", rf"\boxed{{{gold}}}"):
        verdict = math_answer(make_attempt(answer, {"answer": gold}))
        assert verdict.score is None
        assert "answer" in verdict.reason


PIECES = [
    "1",
    "2",
    "x",
    "e",
    r"\pi",
    r"\frac{1}{2}",
    r"\sqrt{3}",
    "+",
    "-",
    "=",
    "<",
    ",",
    "(",
    ")",
    "[",
    r"\{",
    r"\}",
    " ",
]
PIECES += [
    r"\text{ cm}",
    r"\text{ or }",
    r"\infty",
    r"\cup ",
    "%",
    "^2",
    r"\pm ",
    "개",
    "Monday",
    "*",
    r"\neq ",
    "!",
    r"\ln ",
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6))
def test_a_gold_answer_passes_itself_or_cannot_be_read(pieces: list[str]) -> None:
    """What a check of the data before a run relies on: a row is good or says why not, and is never just wrong."""
    gold = "".join(pieces)
    verdict = grade(gold, gold)
    assert verdict.score == 1.0 or (verdict.score is None and verdict.reason.startswith("gold answer: "))


def in_a_thread(gold: str, boxed: str) -> Verdict:
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(grade, gold, boxed).result()


def test_in_another_thread_what_needs_no_limit_is_graded_and_the_rest_is_none_not_zero() -> None:
    assert threading.current_thread() is threading.main_thread()
    assert in_a_thread("7", "7").outcome is True
    assert in_a_thread(r"\sqrt{12}", r"2\sqrt{3}").outcome is True
    assert in_a_thread("x^2+1", "1+x^2").outcome is True
    assert in_a_thread(r"\sin x", r"\sin(x)").score is None
    assert "main thread" in in_a_thread(r"\sin x", r"\sin(x)").reason


def test_the_callers_signals_are_left_as_they_were() -> None:
    before = signal.getsignal(signal.SIGPROF), signal.getsignal(signal.SIGALRM)
    signal.alarm(100)
    assert grade(r"\cos x", r"\cos(x)").outcome is True
    assert signal.alarm(0) > 0
    assert (signal.getsignal(signal.SIGPROF), signal.getsignal(signal.SIGALRM)) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_plain_numbers_and_words_never_import_sympy() -> None:
    code = (
        "import sys; from rewards import make_attempt; from rewards.math_answer import math_answer\n"
        r"for gold in ('7', r'\frac{1}{3}', '50\\%', r'\text{yes}', '[0,1)', r'\{1,2\}'):"
        "\n    for box in (gold, '8', '37*43', '9^{9^9}'):"
        r" math_answer(make_attempt(r'\boxed{' + box + '}', {'answer': gold}))"
        "\nassert not {'sympy', 'math_verify'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
