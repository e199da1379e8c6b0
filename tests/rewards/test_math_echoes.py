"""An answer that repeats the question earns nothing; what is a number as it stands is no echo."""

import pytest

from rewards._numerals import LITERAL
from tests.rewards.math_attempts import grade


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
    ("gold", "echo"),
    [
        (r"3\sqrt{2}", r"\sqrt{50}-\sqrt{8}"),
        (r"\sqrt{6}", r"\sqrt{2}\cdot\sqrt{3}"),
        (r"\frac{\sqrt{2}}{2}", r"\sin(\pi/4)"),
        ("2x", r"\frac{d}{dx}x^2"),
        ("x^2", r"\int 2xdx"),
        ("n!", r"\prod_{k=1}^n k"),
        ("(2,3)", "(1+1,3)"),
        (r"\{2,3\}", r"\{\sqrt{4},3\}"),
        ("(-3,3)", "|x|<3"),
        (r"\begin{pmatrix}2\\3\end{pmatrix}", r"\begin{pmatrix}1+1\\3\end{pmatrix}"),
    ],
)
def test_an_echo_is_noticed_in_literals_formulas_and_lists(gold: str, echo: str) -> None:
    assert grade(gold, gold).outcome is True
    assert grade(gold, echo).outcome is False
