r"""Is the last `\boxed{...}` of the answer equal to the gold answer?

This is the rule-based verifier of EXAONE 4.0 section 2.4.2. What an answer may look like depends on the gold, because a
policy soon learns to box the question itself (`\boxed{37*43}`), which a computer algebra system finds perfectly equal.
Five kinds of gold, cheapest first:

1. a rational number (`12`, `1,234.5`, `\frac{3}{5}`, `3\times10^{8}`, `50\%`): the answer must be a plain number too,
   and for a whole number the division must be done. A decimal is right when it is equal; a rounded one only where the
   gold has no finite decimal, with a relative error of at most one in a million.
2. a closed literal with radicals, pi or e (`\frac{\sqrt{3}}{2}`, `2\pi`): the answer is a number or such a literal,
   with no more sums in it than the gold has (`\sqrt{50}-\sqrt{8}` is no answer for `3\sqrt{2}`).
3. words (`\text{Monday}`, `B`, `참`) and dates: the same words, in upper or lower case.
4. several values of these kinds: lists, pairs, sets, intervals, matrices. Each must be right; a bare list may stand for
   a pair or a set, an inequality for an interval (`x>3`, `x\neq2`).
5. any other mathematics. Rational functions are compared exactly, in any form: `x^2-1` and `(x-1)(x+1)` are the same.
   For the rest (functions, equations, complex numbers) math-verify decides. An answer may not use an operation such as
   an integral or a limit unless the gold does; if the gold is a number (`\ln 2`), no other operation at all.

Units are converted (`1 km` for `1000\text{ m}`), and another kind of unit is wrong; one may be left out on either side,
and so may the names of counted things (`12개`, `12 apples`). In a chain `x=\frac{2}{4}=0.5` every value must be right.
Of several boxes the last counts, unless a word joins them or the gold is a list: then those that stand together are one
answer. An answer that the next words take back (`\boxed{7} is wrong, it is 8`) is wrong.

Gold follows the habit of LaTeX (decimal point); rows with `language: es` may be answered with a decimal comma.

Only math-verify needs a time limit: 2 s of CPU time each to read and to compare, so that a verdict does not depend on
the machine's load. It is a signal (SIGPROF), which can interrupt the main thread alone; in other threads such an answer
gets score None with a reason, instead of a hang or a silent 0: call this reward in a process of its own, as grading
workers are.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from rewards._boxed import find_boxed, last_box
from rewards._formulas import real_value
from rewards._latex import MAX_CHARACTERS, clean
from rewards._lists import INFINITY, Items, read_items
from rewards._numerals import LITERAL, TOLERANCE, Number, is_same, read_numbers
from rewards._printable import printable
from rewards._symbolic import compare_formulas
from rewards._units import NO_UNIT, Unit, split_unit
from rewards.contract import Attempt, Case, Reward, Verdict

SEES = ("answer", "is_truncated", "row")

_ROUGHLY = Fraction(1, 100)  # relative, for what follows a right answer after \approx
_EXACTLY = Fraction(1, 10**15)  # for literals, which are known to 50 digits


def math_answer(attempt: Attempt) -> Verdict:
    r"""Compare the last balanced `\boxed{...}` of the answer with the gold answer `row["answer"]` (a string).

    Returns:
        Score 1 or 0 with the same outcome, and what was boxed. Score 0 with a reason for anything wrong in the answer:
        no box, a box only in the thinking, absurd size, an echo of the question. Score None when the row has no
        readable gold answer, or when a time limit is needed and cannot be set (see the module).
    """
    row_answer = attempt.row.get("answer")
    if not isinstance(row_answer, str):
        return Verdict(None, reason=f"row['answer'] is {type(row_answer).__name__}, need a string")
    gold_text = last_box(rf"\boxed{{{row_answer}}}")  # a gold answer may come in a box of its own
    gold, fault = ("", "braces that do not balance") if gold_text is None else clean(gold_text)
    if fault:
        return Verdict(None, reason=f"gold answer: {fault}")
    boxed = find_boxed(attempt.answer)
    if boxed is None:
        return _wrong("truncated" if attempt.is_truncated else r"no \boxed{...} in the answer")
    text = boxed.together if boxed.is_joined or read_items(gold) else boxed.last
    extracted = printable(text, MAX_CHARACTERS)
    if boxed.is_taken_back:
        return _wrong("taken back after the box", extracted)
    answer, fault = clean(text)
    if fault:
        return _wrong(fault, extracted)
    is_equal, reason = _compare(gold, answer, attempt.row.get("language"))
    if is_equal is None:
        return Verdict(None, extracted=extracted, reason=reason)
    return Verdict(1.0, outcome=True, extracted=extracted) if is_equal else _wrong(reason, extracted)


def gold_answer(row: Mapping[str, Any]) -> str | None:
    """The gold answer in a box."""
    gold = row.get("answer")
    return rf"\boxed{{{gold}}}" if isinstance(gold, str) else None


def _wrong(reason: str, extracted: str | None = None) -> Verdict:
    return Verdict(0.0, outcome=False, extracted=extracted, reason=reason)


def _compare(gold: str, answer: str, language: Any) -> tuple[bool | None, str]:
    """Equal, not equal, or None: cannot be judged; and the reason for the latter two."""
    if INFINITY.fullmatch(gold):
        return gold.lstrip("+") == answer.rpartition("=")[2].lstrip("+"), "not equal"
    if value := _read_gold_value(gold):
        return _compare_values(value, answer, language)
    if _is_words(gold):
        return _bare(gold) == _bare(answer), "not the same words"
    items = read_items(gold)
    if items and all(map(_is_plain, items.items)):
        return _compare_items(items, answer, language)
    return compare_formulas(gold, answer, is_value=_read_value(answer, language) is not None)


# --- one value: a number or a closed literal, perhaps with a unit ---


class _Value(NamedTuple):
    text: str
    numbers: tuple[Number, ...]  # how it can be read; none for a literal with radicals, pi or e
    unit: Unit
    name: str = ""


_NAME = re.compile(r"([A-Za-z](?:_\{?\w+\}?)?)(?:\([^()]*\))?")  # x, x_1, f(3)
_SUM = re.compile(r"(?<=[\w})])[+-]")
_LINK = re.compile(r"(=|\\approx ?)")


def _read_gold_value(text: str) -> _Value | None:
    if _DATE.fullmatch(text):  # no subtraction
        return None
    name, sign, rest = text.rpartition("=")
    match = _NAME.fullmatch(name) if sign else None
    value = _read_value(rest if match else text, None, is_gold=True)
    return value._replace(name=match[1]) if value and match else value


def _read_value(text: str, language: Any, *, is_gold: bool = False) -> _Value | None:
    for rest, unit in ((text, NO_UNIT), split_unit(text, is_gold=is_gold)):
        numbers = read_numbers(rest, language)
        if numbers or LITERAL.fullmatch(rest):
            return _Value(rest, numbers, unit)
    return None


def _compare_values(gold: _Value, answer: str, language: Any) -> tuple[bool | None, str]:
    r"""Every value in a chain such as `x=\frac{2}{4}=\frac{1}{2}\approx0.5` must be right, and the last link be one."""
    first, *rest = _LINK.split(answer)
    name = _NAME.fullmatch(first) if rest else None
    if name and gold.name not in ("", name[1]):
        return False, f"{name[1]} instead of {gold.name}"
    is_rough = False
    value = None
    for sign, text in (("=", first), *zip(rest[::2], rest[1::2], strict=True)):
        is_rough = sign != "=" and value is not None  # 5\approx5.0 repeats what was said, \approx5 says it
        value = _read_value(text, language)
        if value is None or (gold.numbers and not value.numbers):
            value = None
            continue
        is_equal, reason = _is_equal(gold, value, _ROUGHLY if is_rough else None)
        if not is_equal:
            return is_equal, reason
    if value is None:
        return False, f"not a {'plain number' if gold.numbers else 'closed literal'}, and the gold answer is one"
    return is_rough or _is_finished(gold, value), "a calculation that is not finished"


def _is_equal(gold: _Value, value: _Value, tolerance: Fraction | None) -> tuple[bool | None, str]:
    ratio = value.unit.in_units_of(gold.unit)
    if ratio is None:
        return False, "not the same kind of unit"
    numbers = [number._replace(value=number.value * ratio) for number in value.numbers]
    if gold.numbers and tolerance is None:
        return any(is_same(gold.numbers[0], number) for number in numbers), "not equal"
    wanted = gold.numbers[0].value if gold.numbers else _real(gold.text)
    if wanted is None:
        return None, "gold answer: not readable as mathematics"
    if tolerance is None:
        tolerance = TOLERANCE if "." in gold.text or any(number.is_decimal for number in numbers) else _EXACTLY
    real = _real(value.text)
    reals = [number.value for number in numbers] or ([] if real is None else [real * ratio])
    return any(abs(real - wanted) <= tolerance * abs(wanted) for real in reals), "not equal"


def _real(literal: str) -> Fraction | None:
    value = real_value(literal)
    return None if value is None else Fraction(value)


def _is_finished(gold: _Value, value: _Value) -> bool:
    """Whether nothing is left to calculate: no division for a whole number, no more sums than the gold has."""
    if gold.numbers:
        return value.numbers[0].is_finished or not gold.numbers[0].is_whole
    return len(_SUM.findall(value.text)) <= len(_SUM.findall(gold.text))


# --- words ---


_WORDS = re.compile(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")


def _is_words(text: str) -> bool:
    bare = re.sub(r"\\text\{|\}", "", text)
    is_marked = bare != text or not bare.isascii() or len(bare) != 2  # but xy is a product
    return bool((is_marked and _WORDS.fullmatch(bare)) or _DATE.fullmatch(text))


def _bare(text: str) -> str:
    return re.sub(r"\\text\{|[{}()]", "", text).strip(" .").casefold()


# --- several values ---


def _is_plain(item: str) -> bool:
    """Whether a gold item is a value, a word, or a list of those: it is compared without math-verify."""
    if INFINITY.fullmatch(item) or _read_gold_value(item) or _is_words(item):
        return True
    items = read_items(item)
    return items is not None and all(map(_is_plain, items.items))


def _compare_items(gold: Items, answer: str, language: Any) -> tuple[bool | None, str]:
    items = read_items(answer) or Items("", (answer,))
    if gold.name and items.name and gold.name != items.name:
        return False, f"{items.name} instead of {gold.name}"
    if not items.has_kind_of(gold):
        return False, "not the same kind of brackets"
    if len(gold.items) != len(items.items):
        return False, f"number of values: {len(items.items)}, not {len(gold.items)}"
    missing, reason = list(items.items), ""
    for item in gold.items:
        candidates = missing[:1] if gold.is_ordered or items.is_ordered else missing
        for candidate in candidates:
            is_equal, reason = _compare(item, candidate, language)
            if is_equal is None:
                return None, reason
            if is_equal:
                missing.remove(candidate)
                break
        else:
            return False, reason if len(candidates) == 1 else f"{item} is missing"
    return True, ""


EXAMPLE: Reward = math_answer


def _case(gold: str, boxed: str, score: float | None, **row: str) -> Case:
    return rf"The answer is \boxed{{{boxed}}}.", {"answer": gold, **row}, score


CASES: list[Case] = [
    ("So it is seven, \\boxed{7}.", {"answer": "7"}, 1.0),
    (r"First \boxed{5}, after correction \boxed{7}.", {"answer": "7"}, 1.0),
    (r"First \boxed{7}, after correction \boxed{5}.", {"answer": "7"}, 0.0),
    (r"\boxed{5}, \boxed{7}", {"answer": "7"}, 1.0),
    (r"\boxed{5}, \boxed{7}", {"answer": "5,7"}, 1.0),
    (r"\boxed{5} or \boxed{7}", {"answer": "7"}, 0.0),
    (r"\boxed{7} is wrong, it is 8.", {"answer": "7"}, 0.0),
    (r"\boxed{7}. " + "We add both sides. " * 8 + "Wait, 8 is the other sum.", {"answer": "7"}, 1.0),
    (r"$\boxed{7}$ 🎉", {"answer": "7"}, 1.0),
    _case("1,591 m", "1590+1", 0.0),
    _case("5 m", "5m", 1.0),
    ("The answer is 7.", {"answer": "7"}, 0.0),
    ({"thinking": r"It must be \boxed{7}.", "answer": "The answer is 7."}, {"answer": "7"}, 0.0),
    ({"thinking": "hm", "answer": "", "is_truncated": True}, {"answer": "7"}, 0.0),
    ("", {"answer": "7"}, 0.0),
    (r"\boxed{7}", {}, None),
    (r"\boxed{7}", {"answer": ""}, None),
    (r"\boxed{7}", {"answer": 7}, None),
    _case("x+" * 200 + "1", "7", None),
    _case(r"\begin{foo", "7", None),
    _case("1591", "1591", 1.0),
    _case("1591", "37*43", 0.0),
    _case("1591", "37*43=1591", 1.0),
    _case("1591", r"\frac{3182}{2}", 0.0),
    _case("1000", "10^{3}", 0.0),
    _case("385", r"\sum_{k=1}^{10}k^2", 0.0),
    _case("1", r"\int_0^1 2xdx", 0.0),
    _case("12", r"\gcd(48,36)", 0.0),
    _case("3628800", "10!", 0.0),
    _case("1", r"\lim_{x\to0}\frac{\sin x}{x}", 0.0),
    _case("3", r"\frac{d}{dx}(3x)", 0.0),
    _case("-2", r"\det\begin{pmatrix}1&2\\3&4\end{pmatrix}", 0.0),
    _case("7", r"\max(3,7)", 0.0),
    _case("6", "|-6|", 0.0),
    _case("5", r"\sqrt{3^2+4^2}", 0.0),
    _case("5", "x+5-x", 0.0),
    _case("5", "5 (or maybe 6)", 0.0),
    _case("5", r"5\text{ (or maybe 6)}", 0.0),
    _case("7", "x=5=7", 0.0),
    _case("1000000", "1,000,000", 1.0),
    _case("1{,}234", r"1\,234", 1.0),
    _case("1234", "1\u2009234", 1.0),
    _case("1234", "1\u00a0234", 1.0),
    _case("12", "１２", 1.0),
    _case("12", "١٢", 1.0),
    _case("-6", "−6", 1.0),
    _case("5", "5.", 1.0),
    _case("5", "≈5", 1.0),
    _case("5", "≈5.04", 0.0),
    _case("1250000", "1250000.5", 0.0),
    _case("5", "5\u200b", 1.0),
    _case("7", "x=7", 1.0),
    _case("x=7", "y=7", 0.0),
    _case("5", "5, 7", 0.0),
    _case(r"\frac12", r"\dfrac{2}{4}", 1.0),
    _case(r"1\frac{1}{2}", "1½", 1.0),
    _case(r"\frac{1}{3}", "0.333333", 1.0),
    _case(r"\frac{1}{3}", "0.33", 0.0),
    _case("0.0000001", "0", 0.0),
    _case(r"3\times10^{8}", "3e8", 1.0),
    _case(r"50\%", "0.5", 1.0),
    _case(r"5\%", "500", 0.0),
    _case("12", r"12\text{개}", 1.0),
    _case("12", "12개", 1.0),
    _case("12000", "12,000원", 1.0),
    _case("12", "12 €", 1.0),
    _case("12", "12 euros", 1.0),
    _case(r"12\text{ cm}", r"12\text{ km}", 0.0),
    _case(r"1000\text{ m}", r"1\text{ km}", 1.0),
    _case("1234.5", "1.234,5", 1.0, language="es"),
    _case("1234.5", "1.234,5", 0.0, language="en"),
    _case(r"\text{Monday}", "monday", 1.0),
    _case(r"\text{even}", r"\text{neve}", 0.0),
    _case(r"\text{참}", r"\text{거짓}", 0.0),
    _case(r"\frac{\pi}{4}", "0.785398", 1.0),
    _case(r"\pi", "3.14", 0.0),
    _case(r"1000\pi", "3141.5927", 1.0),
    _case(r"\sqrt{2}", r"\frac{941664}{665857}", 0.0),
    _case(r"\sqrt{2}", "√2", 1.0),
    _case(r"\sqrt{12}", r"2\sqrt{3}", 1.0),
    _case(r"10\pi", r"2\pi\cdot5", 0.0),
    _case("3^2", "3²", 1.0),
    _case("x^2+2x+1", "(x+1)^2", 1.0),
    _case("x^2+1", "y^2+1", 0.0),
    _case(r"\sin x", r"\sin(x)", 1.0),
    _case(r"\{1,2,3\}", "3,2,1", 1.0),
    _case("(1,2)", r"\{1,2\}", 0.0),
    _case("[0,1)", "(0,1)", 0.0),
    _case("(0,1)", "0<x<1", 1.0),
    _case("7", "9^{9^{9}}", 0.0),
    _case("x", "9^{9^{9}}", 0.0),
]
