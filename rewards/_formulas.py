r"""Formulas of numbers, letters, roots and + - * / ^, read by a small grammar and compared by their values.

A closed literal is a real number, here to 60 digits. Two rational functions are the same when they agree at a random
point modulo a large prime: by Schwartz and Zippel the chance of an accident is the degree divided by the prime. Both
take microseconds whatever the formula, so that neither needs a time limit. What else mathematics has (functions,
equations, complex numbers) is not read.
"""

import random
import re
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any, Protocol

_DIGITS = 60
_MOST_DIGITS = 10_000  # before or after the point: more take time to compare
_PRIME = 2**61 - 1
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534")
_TOKEN = re.compile(
    r" *(?:(?P<exponent>\^(?:\d|\{[+-]?\d+(?:/\d+)?\}|\{[+-]?\\frac\{\d+\}\{\d+\}\}))"
    r"|(?P<mixed>\d+ ?\\frac\{\d+\}\{\d+\})"
    r"|(?P<number>\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<times>\\cdot|\\times|\*)"
    r"|(?P<root>\\sqrt(?:\[\d+\])?)"
    r"|(?P<fraction>\\frac)"
    r"|(?P<letter>(?:[A-Za-z]|\\(?:pi|alpha|beta|gamma|delta|theta|lambda|mu|rho|sigma|tau|phi|omega)(?![A-Za-z]))"
    r"(?:_(?:\w|\{\w+\}))?)"
    r"|(?P<open>[({])|(?P<close>[)}])|(?P<sign>[+-])|(?P<slash>/)) *"
)
_BEGINS = {"mixed", "root", "fraction", "letter", "open"}  # a factor that needs no sign before it


@lru_cache(maxsize=4096)
def real_value(text: str) -> Decimal | None:
    """The real number that a closed literal is, to some 50 digits; None when it is none, or beyond all measure."""
    with localcontext(prec=_DIGITS):
        value = _evaluate(text, _Reals())
    return value if value is not None and value.is_finite() and abs(value.adjusted()) < _MOST_DIGITS else None


@lru_cache(maxsize=4096)
def residue(text: str) -> tuple[int, bool] | None:
    """What a rational function is at our random point, and whether it has letters; None for any other formula."""
    field = _Residues()
    value = _evaluate(text, field)
    return None if value is None else (value, field.has_letters)


def _evaluate(text: str, field: "_Field") -> Any:
    try:
        return _Reader(text, field).read()
    except (ArithmeticError, ValueError):  # no value here, or no formula of ours
        return None


class _Field(Protocol):
    """What a formula is calculated in; ValueError for what does not exist there."""

    def number(self, number: Fraction) -> Any: ...
    def letter(self, letter: str) -> Any: ...
    def add(self, left: Any, right: Any) -> Any: ...
    def multiply(self, left: Any, right: Any) -> Any: ...
    def power(self, base: Any, exponent: Fraction) -> Any: ...


class _Reals:
    def number(self, number: Fraction) -> Decimal:
        return Decimal(number.numerator) / number.denominator

    def letter(self, letter: str) -> Decimal:
        if letter == "e":
            return Decimal(1).exp()
        if letter == r"\pi":
            return _PI
        raise ValueError(letter)

    def add(self, left: Decimal, right: Decimal) -> Decimal:
        return left + right

    def multiply(self, left: Decimal, right: Decimal) -> Decimal:
        return left * right

    def power(self, base: Decimal, exponent: Fraction) -> Decimal:
        return base.sqrt() if exponent == Fraction(1, 2) else base ** self.number(exponent)


class _Residues:
    def __init__(self) -> None:
        self.has_letters = False

    def number(self, number: Fraction) -> int:
        return number.numerator * pow(number.denominator, -1, _PRIME) % _PRIME

    def letter(self, letter: str) -> int:
        if letter == "i":  # the imaginary one
            raise ValueError(letter)
        self.has_letters = True
        return random.Random(re.sub("[{}]", "", letter)).randrange(_PRIME)  # x_{1} is x_1

    def add(self, left: int, right: int) -> int:
        return (left + right) % _PRIME

    def multiply(self, left: int, right: int) -> int:
        return left * right % _PRIME

    def power(self, base: int, exponent: Fraction) -> int:
        if exponent.denominator != 1:
            raise ValueError(exponent)
        return pow(base, exponent.numerator, _PRIME)


class _Reader:
    """Calculates while it reads, by recursive descent."""

    def __init__(self, text: str, field: _Field) -> None:
        self._field = field
        tokens, at = [], 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise ValueError(text[at:])
            tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self._tokens = [("end", ""), *reversed(tokens)]  # the next one is the last

    def read(self) -> Any:
        value = self._sum()
        self._expect("end")
        return value

    @property
    def _kind(self) -> str:
        return self._tokens[-1][0]

    def _expect(self, kind: str) -> str:
        if self._kind != kind:
            raise ValueError(self._tokens[-1][1])
        return self._tokens.pop()[1]

    def _sum(self) -> Any:
        total = self._field.number(Fraction(0))
        is_first = True
        while is_first or self._kind == "sign":
            sign = self._expect("sign") if self._kind == "sign" else "+"
            term = self._product()
            total = self._field.add(total, self._field.multiply(self._field.number(Fraction(f"{sign}1")), term))
            is_first = False
        return total

    def _product(self) -> Any:
        value = self._power()
        while True:
            if self._kind == "times":
                self._expect("times")
                value = self._field.multiply(value, self._power())
            elif self._kind == "slash":
                self._expect("slash")
                value = self._field.multiply(value, self._inverse(self._power()))
                if self._kind in _BEGINS:
                    raise ValueError("a/bc is read in two ways")
            elif self._kind in _BEGINS:
                value = self._field.multiply(value, self._power())
            else:
                return value

    def _power(self) -> Any:
        base = self._atom()
        if self._kind != "exponent":
            return base
        text = self._expect("exponent")
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        exponent = Fraction(*numbers)
        return self._field.power(base, -exponent if "-" in text else exponent)

    def _inverse(self, value: Any) -> Any:
        return self._field.power(value, Fraction(-1))

    def _atom(self) -> Any:
        kind, text = self._tokens.pop()
        if kind == "number":
            return self._field.number(Fraction(text))
        if kind == "mixed":
            whole, top, bottom = (int(number) for number in re.findall(r"\d+", text))
            return self._field.number(whole + Fraction(top, bottom))
        if kind == "letter":
            if text in ("f", "g", "h") and self._tokens[-1][1] == "(":
                raise ValueError("a function")
            return self._field.letter(text)
        if kind == "open":
            value = self._sum()
            self._expect("close")
            return value
        if kind == "fraction":
            top = self._group()
            return self._field.multiply(top, self._inverse(self._group()))
        if kind == "root":
            degree = int(text[6:-1] or 2)
            return self._field.power(self._group(), Fraction(1, degree))
        raise ValueError(text)

    def _group(self) -> Any:
        if self._tokens[-1][1] != "{":
            raise ValueError(self._tokens[-1][1])
        return self._atom()
