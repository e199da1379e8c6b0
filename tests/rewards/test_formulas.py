"""The small grammar against sympy and algebra done by hand."""

from decimal import Decimal

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from rewards._formulas import real_value, residue

COEFFICIENT = st.integers(min_value=-9, max_value=9)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(x+1)^3", "x^3+3x^2+3x+1"),
        (r"\frac{x^2-1}{x-1}", "x+1"),
        (r"\frac{1}{2}x", "0.5x"),
        (r"2\frac{1}{3}x", r"\frac{7}{3}x"),
        (r"2\frac{x}{3}", r"\frac{2x}{3}"),
        ("x^{-1}", r"\frac{1}{x}"),
        ("1/x", r"\frac{1}{x}"),
        ("-x^2", "0-xx"),
        (r"\alpha^2-\beta^2", r"(\alpha-\beta)(\alpha+\beta)"),
        (r"x_1x_2", "x_{2}x_{1}"),
        (r"2\pi r", r"r\cdot\pi*2"),
        (r"\frac{\frac{a}{b}}{\frac{c}{d}}", r"\frac{ad}{bc}"),
    ],
)
def test_equal_rational_functions_have_one_residue(one: str, other: str) -> None:
    assert residue(one) is not None
    assert residue(one) == residue(other)


@given(COEFFICIENT, COEFFICIENT, COEFFICIENT, COEFFICIENT)
def test_an_expanded_product_is_the_product_and_its_neighbour_is_not(a: int, b: int, c: int, d: int) -> None:
    product = residue(f"({a}x+({b})y)(({c})x+({d})y)")
    assert product is not None
    assert product == residue(f"{a * c}x^2+({a * d + b * c})xy+({b * d})y^2")
    assert product != residue(f"{a * c}x^2+({a * d + b * c + 1})xy+({b * d})y^2")


@pytest.mark.parametrize(
    "text",
    [
        *("", "f(x+1)", "1/2x", "x2", "x!", "2^x", "|x|", "3+4i", r"\sin x", r"\sqrt{x}", "x=1", "x,y", "(x", "x)"),
        *("x^2^3", r"\frac{1}{x-x}", r"\frac{1}", "+", "2*-3", r"\begin{pmatrix}1\end{pmatrix}"),
    ],
)
def test_what_the_grammar_does_not_know_is_not_read(text: str) -> None:
    assert residue(text) is None


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("2", sympy.Integer(2)),
        (r"-2\sqrt[3]{5}", -2 * sympy.cbrt(5)),
        (r"\frac{3\pi}{4}", 3 * sympy.pi / 4),
        (r"\pi^{2}", sympy.pi**2),
        ("e^{-2}", sympy.exp(-2)),
        ("3e", 3 * sympy.E),
        (r"\frac{1+\sqrt{5}}{2}", sympy.GoldenRatio),
        (r"2(1+\sqrt{3})", 2 * (1 + sympy.sqrt(3))),
        (r"\frac{\sqrt{6}-\sqrt{2}}{4}", (sympy.sqrt(6) - sympy.sqrt(2)) / 4),
        (r"2^{\frac{1}{3}}", sympy.cbrt(2)),
        ("2^{-3/4}", 2 ** sympy.Rational(-3, 4)),
        (r"1\frac{1}{2}\pi", 3 * sympy.pi / 2),
    ],
)
def test_literals_are_known_to_fifty_digits(literal: str, value: sympy.Expr) -> None:
    real = real_value(literal)
    assert real is not None
    assert abs(real / Decimal(str(sympy.N(value, 60))) - 1) < Decimal("1e-50")


@pytest.mark.parametrize("literal", [r"\frac{1}{0}", r"\frac{\pi}{\pi-\pi}", r"\sqrt{-1}", "x", r"9^{999}" * 20 + "9"])
def test_literals_without_a_value_have_none(literal: str) -> None:
    assert real_value(literal) is None
