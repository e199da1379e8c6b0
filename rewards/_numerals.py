r"""Plain numbers, read exactly, and closed literals: numbers with radicals, pi or e, and nothing left to calculate."""

import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

TOLERANCE = Fraction(1, 1_000_000)  # relative, for rounded decimals

_D = r"(?:\d+(?:\.\d+)?|\.\d+)"
_TIMES = r"(?:\\times ?|\\cdot ?|\*)"
_QUOTIENT = re.compile(rf"(\d+)? ?\\frac\{{([+-]?{_D})\}}\{{([+-]?{_D})\}}|({_D})/(-?{_D})")
_SCIENTIFIC = re.compile(rf"(?:({_D}){_TIMES})?10\^\{{?([+-]?\d{{1,4}})\}}?|({_D})[eE]([+-]?\d{{1,4}})")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\{?(\d+)\}?")
_POINT = re.compile(r"(?:\d+|\d{1,3}(?:[, ']\d{3})+)?(?:\.\d+)?")  # 1,234.5
_COMMA = re.compile(r"(?:\d+|\d{1,3}(?:[. ]\d{3})+)(?:,\d+)?")  # 1.234,5

_RATIONAL = rf"(?:{_D}|\\frac\{{{_D}\}}\{{{_D}\}})"
_ROOT = rf"(?:\\sqrt(?:\[\d{{1,2}}\])?\{{{_RATIONAL}\}}|\d+\^\{{-?(?:\d\d?/\d\d?|\\frac\{{\d\d?\}}\{{\d\d?\}})\}})"
_IRRATIONAL = rf"(?:{_ROOT}|(?:\\sqrt(?:\[\d{{1,2}}\])?\{{{_RATIONAL}\}}|\\pi|e)(?:\^(?:\d|\{{[+-]?\d{{1,3}}\}}))?)"
# Atomic groups: without them a long sum of fractions that ends badly is tried in a million ways.
_TERM = rf"(?>(?:{_RATIONAL}{_TIMES}?)?{_IRRATIONAL}+|{_RATIONAL})(?:/{_D})?"
_SUM = rf"[+-]?{_TERM}(?:[+-]{_TERM})*+"
_GROUP = (
    rf"(?:{_RATIONAL}{_TIMES}?)?(?:\\frac\{{{_SUM}\}}\{{{_SUM}\}}|\({_SUM}\))(?:{_TIMES}?{_IRRATIONAL}+)?(?:/{_D})?"
)
LITERAL = re.compile(rf"[+-]?(?>{_GROUP}|{_TERM})(?:[+-](?>{_GROUP}|{_TERM}))*+")


class Number(NamedTuple):
    """A plain number as it was written."""

    value: Fraction  # without the percent sign
    is_percent: bool = False
    is_decimal: bool = False  # written with decimals
    is_finished: bool = True  # no division or power is left to do

    @property
    def is_whole(self) -> bool:
        """An integer, written as one."""
        return self.value.denominator == 1 and self.is_finished and not self.is_percent


@lru_cache(maxsize=4096)
def read_numbers(text: str, language: Any) -> tuple[Number, ...]:
    """What number a tidy text is: none or one reading, and for Spanish perhaps a second one (1.234)."""
    return tuple(_read_numbers(text, language))


def _read_numbers(text: str, language: Any) -> Iterator[Number]:
    body = text.removesuffix("%")
    is_percent = body != text
    sign = -1 if body.startswith("-") else 1
    body = body.removeprefix("-").removeprefix("+")
    if match := _QUOTIENT.fullmatch(body):
        top, bottom = Fraction(match[2] or match[4]), Fraction(match[3] or match[5])
        if bottom:
            yield Number(sign * (int(match[1] or 0) + top / bottom), is_percent, is_finished=False)
    elif match := _SCIENTIFIC.fullmatch(body):
        mantissa, exponent = match[1] or match[3], match[2] or match[4]
        yield Number(sign * Fraction(f"{mantissa or 1}e{exponent}"), is_percent, is_finished=bool(mantissa))
    elif match := _REPEATING.fullmatch(body):
        start, digits = Fraction(f"{match[1] or 0}.{match[2] or 0}"), match[3]
        period = Fraction(int(digits), (10 ** len(digits) - 1) * 10 ** len(match[2]))
        yield Number(sign * (start + period), is_percent, is_finished=False)
    elif body:
        if _POINT.fullmatch(body):
            value = Fraction(Decimal(re.sub("[, ']", "", body)))  # Decimal reads more than int's 4300 digits
            yield Number(sign * value, is_percent, is_decimal="." in body)
        if language == "es" and _COMMA.fullmatch(body):
            value = Fraction(Decimal(re.sub("[. ]", "", body).replace(",", ".")))
            yield Number(sign * value, is_percent, is_decimal="," in body)


def is_same(gold: Number, number: Number) -> bool:
    """Equal as numbers; a percent sign on one side only may mean either (50 or 0.5 for 50 %)."""
    golds, values = [gold.value], [number.value]
    if gold.is_percent != number.is_percent:
        (golds if gold.is_percent else values).append((gold if gold.is_percent else number).value / 100)
    return any(
        value == wanted
        or (number.is_decimal and _is_endless(wanted) and abs(value - wanted) <= TOLERANCE * abs(wanted))
        for wanted in golds
        for value in values
    )


def _is_endless(value: Fraction) -> bool:
    """Has no finite decimal: the denominator (below 2 to the 1000th) divides no power of ten."""
    return pow(10, 1000, value.denominator) != 0
