import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import Verdict, make_attempt
from rewards._boxed import last_box
from rewards._numerals import LITERAL
from rewards.math_answer import math_answer


def grade(gold: str, boxed: str, **row: str) -> Verdict:
    return math_answer(make_attempt(rf"\boxed{{{boxed}}}", {"answer": gold, **row}))


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


@pytest.mark.parametrize(
    "echo",
    [
        "37*43",
        r"37\cdot43",
        r"37\times 43",
        "(37)(43)",
        "1590+1",
        "1592-1",
        "3182/2",
        r"\frac{3182}{2}",
        r"\gcd(1591,0)",
        r"\sqrt{1591^2}",
        r"\int_0^{1591}1dx",
        r"\max(3,1591)",
        "|-1591|",
        "x+1591-x",
        "1591^1",
        r"\binom{1591}{1}",
    ],
)
def test_an_echo_of_the_question_earns_nothing(echo: str) -> None:
    assert grade("1591", echo).outcome is False


@pytest.mark.parametrize("echo", [r"\ln(1+1)", r"\log_3 9\ln 2", r"\int_1^2\frac{1}{x}dx", r"\ln 2+0"])
def test_an_echo_is_noticed_where_math_verify_compares(echo: str) -> None:
    assert grade(r"\ln 2", r"\ln{2}").outcome is True
    assert grade(r"\ln 2", "0.693147").outcome is True
    assert grade(r"\ln 2", echo).reason == "a calculation that is not finished"


@pytest.mark.parametrize(
    "literal",
    [
        "2",
        "-2.5",
        r"\frac{1}{2}",
        r"\sqrt{2}",
        r"-2\sqrt[3]{5}",
        r"\pi",
        r"2\pi",
        r"\frac{3\pi}{4}",
        r"\pi^2",
        "3e",
        "e^{-2}",
        r"1+\sqrt{2}",
        r"\frac{1+\sqrt{5}}{2}",
        r"\frac{\sqrt{6}-\sqrt{2}}{4}",
        r"2(1+\sqrt{3})",
        r"\pi/4",
        r"5\cdot\pi",
    ],
)
def test_closed_literals_are_recognised(literal: str) -> None:
    assert LITERAL.fullmatch(literal)


@pytest.mark.parametrize(
    "text", ["37*43", r"37\cdot43\pi", "10!", "2^{10}", r"\sqrt{3^2+4^2}", "x", r"\ln 2", "", r"\pi\pi!"]
)
def test_calculations_are_not_closed_literals(text: str) -> None:
    assert not LITERAL.fullmatch(text)


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", r"\frac{1}{\sqrt{2}}"),
        (r"\frac{\pi}{100000000}", r"\pi/100000000", "0"),
        (r"\frac{1+\sqrt{5}}{2}", r"\frac{1}{2}+\frac{\sqrt5}{2}", r"\frac{1-\sqrt{5}}{2}"),
        (r"\sqrt{2}", "1.414214", "1.41"),
        ("2^{10}", "1024", "1023"),
        ("y=2x+1", "y-2x=1", "y=2x"),
        (r"\pm 3", "3,-3", "3"),
        ("3+4i", "4i+3", "3-4i"),
        (r"x\in[0,1]", "[0,1]", "(0,1)"),
        (
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            r"\begin{bmatrix}1&2\\3&4\end{bmatrix}",
            r"\begin{pmatrix}1&3\\2&4\end{pmatrix}",
        ),
        ("yes", r"\text{Yes}", "no"),
        ("B", "(B)", "C"),
        ("90^\\circ", "90", "91"),
        ("12,000", "12,000원", "12"),
        (r"\$5", "5", "6"),
        ("7", "7 apples", "8 apples"),
        ("10^{3}", "1000", "10"),
        ("50", r"50\%", r"5\%"),
    ],
)
def test_equal_forms_are_right_and_others_wrong(gold: str, right: str, wrong: str) -> None:
    assert grade(gold, right).outcome is True
    assert grade(gold, wrong).outcome is False


def test_a_decimal_comma_counts_in_spanish_rows_only() -> None:
    assert grade("3.5", "3,5", language="es").outcome is True
    assert grade("3.5", "3,5", language="en").outcome is False
    assert grade("1234", "1.234", language="es").outcome is True
    assert grade("1.234", "1.234", language="es").outcome is True


def test_a_box_in_the_thinking_is_not_an_answer() -> None:
    attempt = make_attempt({"thinking": r"\boxed{7}", "answer": "Done."}, {"answer": "7"})
    assert math_answer(attempt).reason == r"no \boxed{...} in the answer"


def test_a_truncated_attempt_without_a_box_is_wrong_and_says_so() -> None:
    attempt = make_attempt({"thinking": "so", "answer": "", "is_truncated": True}, {"answer": "7"})
    assert math_answer(attempt) == Verdict(0.0, outcome=False, reason="truncated")


def test_a_gold_answer_may_come_in_its_own_box() -> None:
    assert grade(r"\boxed{7}", "7").outcome is True
    assert grade(r"\boxed{7}", "8").outcome is False


@pytest.mark.parametrize(
    "gold", [None, 7, ["7"], "", "  ", "$$", r"\boxed{}", "x" * 301, "9^{9^{9}}", r"\frac{", r"\frac{\pi}{0}"]
)
def test_a_broken_gold_answer_is_not_the_models_fault(gold: object) -> None:
    verdict = math_answer(make_attempt(r"\boxed{\pi+1}", {"answer": gold}))
    assert verdict.score is None
    assert "answer" in verdict.reason


def in_a_thread(gold: str, boxed: str) -> Verdict:
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(grade, gold, boxed).result()


def test_in_another_thread_literals_are_graded_and_the_rest_is_none_not_zero() -> None:
    assert threading.current_thread() is threading.main_thread()
    assert in_a_thread("7", "7").outcome is True
    assert in_a_thread(r"\sqrt{12}", r"2\sqrt{3}").outcome is True
    assert in_a_thread("x^2+1", "1+x^2").score is None
    assert "main thread" in in_a_thread("x^2+1", "1+x^2").reason


@pytest.mark.slow
def test_a_comparison_that_would_take_for_ever_is_wrong_after_the_time_limit() -> None:
    started = time.monotonic()
    assert grade("x^2+1", r"\binom{10^7}{5\cdot10^6}").outcome is False
    assert time.monotonic() - started < 8  # at most 2 s each to read the gold, to read the answer and to compare


def test_the_callers_alarm_handler_is_given_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    grade("x^2+1", "1+x^2")
    assert signal.getsignal(signal.SIGALRM) is before


def test_plain_numbers_and_words_never_import_sympy() -> None:
    code = (
        "import sys; from rewards import make_attempt; from rewards.math_answer import math_answer\n"
        r"for gold in ('7', r'\frac{1}{3}', '50\\%', r'\text{yes}'):"
        "\n    for box in (gold, '8', '37*43', '9^{9^9}'):"
        r" math_answer(make_attempt(r'\boxed{' + box + '}', {'answer': gold}))"
        "\nassert not {'sympy', 'math_verify'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
