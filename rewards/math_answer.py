r"""Is the last `\boxed{...}` of the answer equal to the gold answer?

This is the rule-based verifier of EXAONE 4.0 section 2.4.2. What an answer may look like depends on the gold, because a
policy soon learns to box the question itself (`\boxed{37*43}`), which a computer algebra system finds perfectly equal.
Four kinds of gold, cheapest first:

1. a rational number (`12`, `1,234.5`, `\frac{3}{5}`, `3\times10^{8}`, `50\%`): the answer must be a plain number too,
   and for a whole number the division must be done. Exact arithmetic; sympy is never imported. A rounded decimal is
   right only where the gold has no finite decimal, with a relative error of at most one in a million.
2. words (`\text{Monday}`, `B`, `참`): the same words, in upper or lower case.
3. a closed literal with radicals, pi or e (`\frac{\sqrt{3}}{2}`, `2\pi`): the answer is a number or such a literal.
4. any other mathematics: sets, intervals, matrices, equations, formulas. math-verify decides. If the gold is a number
   (`\ln 2`), the answer is a literal, or uses no other operation than the gold. Inside sets and matrices an unfinished
   calculation is not noticed.

Gold follows the habit of LaTeX (decimal point); rows with `language: es` may be answered with a decimal comma. A unit
may be left out, but two different unit symbols (`cm`, `km`) are wrong: units are not converted.

math-verify's time limit is SIGALRM, which exists in the main thread alone (and takes the place of an alarm that you
have set). Literals are small by their grammar and do without it, but in other threads kind 4 gets score None with a
reason, instead of a hang or a silent 0: call this reward in a process of its own.
"""

import re
import threading
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rewards._boxed import MAX_CHARACTERS, clean, last_box
from rewards._numerals import LITERAL, TOLERANCE, Number, is_same, read_numbers
from rewards.contract import Attempt, Case, Reward, Verdict

SEES = ("answer", "is_truncated", "row")

_TIME_LIMIT_S = 2  # for each of: read the gold, read the answer, compare


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
    box = last_box(attempt.answer)
    if box is None:
        return _wrong("truncated" if attempt.is_truncated else r"no \boxed{...} in the answer")
    extracted = box[:MAX_CHARACTERS].encode("utf-8", "replace").decode()
    answer, fault = clean(box)
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


_NAME = re.compile(r"([A-Za-z](?:_\{?\w+\}?)?)=([^=]*)")
_UNIT = re.compile(r"(.*[\d}])(?:\\text\{([^{}]*)\}| ([A-Za-z]{2,})|[가-힣]+)(?:\^\{?[23]\}?)?")
_WORDS = re.compile(r"[^\W\d_]+(?:[ '-]?[^\W\d_]+)*")


def _compare(gold: str, answer: str, language: Any) -> tuple[bool | None, str]:
    """Equal, not equal, or None: cannot be judged; and the reason for the latter two."""
    if gold == answer:
        return True, ""
    gold_name, gold_value, gold_unit = _dissect(gold, None)
    name, value, unit = _dissect(answer, language)
    if gold_name and name and gold_name != name:
        return False, f"{name} instead of {gold_name}"
    if gold_unit and unit and gold_unit != unit:
        return False, f"the unit is {unit}, not {gold_unit}"
    gold_numbers, numbers = list(read_numbers(gold_value, None)), list(read_numbers(value, language))
    if gold_numbers:
        return _compare_numbers(gold_numbers[0], numbers)
    if _is_words(gold):
        return _bare(gold) == _bare(answer), "not the same words"
    is_literal = bool(numbers or LITERAL.fullmatch(value))
    if LITERAL.fullmatch(gold_value):
        if is_literal:
            return _compare_literals(gold_value, value, numbers)
        return False, "not a closed literal, and the gold answer is one"
    return _compare_by_math_verify(gold, answer, is_literal=is_literal)


def _dissect(text: str, language: Any) -> tuple[str, str, str]:
    r"""Split `x=12\text{cm}` into name, value and unit symbol, if the value is a number or a literal."""
    match = _UNIT.fullmatch(text)
    readings = [(text, "")] + ([(match[1], match[2] or match[3] or "")] if match else [])
    for rest, unit in readings:
        named = _NAME.fullmatch(rest)
        name, value = (named[1], named[2]) if named else ("", rest)
        if LITERAL.fullmatch(value) or any(read_numbers(value, language)):
            return name, value, unit if len(unit) <= 3 else ""  # longer is a word, in any language
    return "", text, ""


def _compare_numbers(gold: Number, numbers: list[Number]) -> tuple[bool, str]:
    if not numbers:
        return False, "not a plain number, and the gold answer is one"
    if gold.is_whole and not numbers[0].is_finished:
        return False, "a calculation that is not finished"
    return any(is_same(gold, number) for number in numbers), "not equal"


def _is_words(text: str) -> bool:
    bare = re.sub(r"\\text\{|\}", "", text)
    is_marked = bare != text or not bare.isascii() or len(bare) != 2  # but xy is a product
    return is_marked and _WORDS.fullmatch(bare) is not None


def _bare(text: str) -> str:
    return re.sub(r"\\text\{|[{}()]", "", text).casefold()


def _compare_literals(gold: str, literal: str, numbers: list[Number]) -> tuple[bool | None, str]:
    """Compare a gold literal with another literal, or with a plain number that was read already."""
    import sympy  # type: ignore[import-untyped]

    wanted = _literal_value(gold)
    if wanted is None:
        return None, "gold answer: not readable as mathematics"
    values = [sympy.Rational(number.value) for number in numbers] or [_literal_value(literal)]
    tolerance = TOLERANCE if "." in gold or any(number.is_decimal for number in numbers) else Fraction(1, 10**15)
    allowed = sympy.Rational(tolerance) * abs(wanted)
    return any(value is not None and abs(value - wanted) <= allowed for value in values), "not equal"


@lru_cache(maxsize=4096)
def _literal_value(literal: str) -> Any:
    """The real number that a literal means, to 50 digits; None when it means none (a division by zero)."""
    import sympy

    expression = _read(literal)
    value = sympy.nan if expression is None else sympy.N(expression, 50)
    return value if value.is_real and value.is_finite else None


def _compare_by_math_verify(gold: str, answer: str, *, is_literal: bool) -> tuple[bool | None, str]:
    if not _is_main_thread():
        return None, "this gold answer needs a time limit, which only the main thread has: grade it in a process"
    from math_verify import verify

    wanted = _read(gold)
    if wanted is None:
        return None, "gold answer: not readable as mathematics"
    if getattr(wanted, "is_number", False) and not (is_literal or _signs(answer) <= _signs(gold)):
        return False, "a calculation that is not finished"
    if (gold[0] in "([" and answer.startswith(r"\{")) or (answer[0] in "([" and gold.startswith(r"\{")):
        return False, "a set is not a pair or an interval"
    value = _read(answer)
    if value is None:
        return False, "not readable as mathematics"
    is_equal = bool(verify(wanted, value, timeout_seconds=_TIME_LIMIT_S))
    return is_equal, f"not equal (or not decided in {_TIME_LIMIT_S} s)"


def _signs(text: str) -> set[str]:
    """Commands, letters and operators: everything but digits, braces and a leading sign."""
    return set(re.findall(r"\\[A-Za-z]+|[^\s{}\d.]", text.lstrip("+-")))


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _read(text: str) -> Any:
    """A sympy object, or None. The text goes in between dollars: without them math-verify reads 3+4i as 3."""
    from math_verify import LatexExtractionConfig, parse

    config = [LatexExtractionConfig(boxed_match_priority=-1)]
    time_limit_s = _TIME_LIMIT_S if _is_main_thread() else None
    found = parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=time_limit_s)
    return found[0] if found else None


EXAMPLE: Reward = math_answer


def _case(gold: str, boxed: str, score: float | None, **row: str) -> Case:
    return rf"The answer is \boxed{{{boxed}}}.", {"answer": gold, **row}, score


CASES: list[Case] = [
    ("So it is seven, \\boxed{7}.", {"answer": "7"}, 1.0),
    (r"First \boxed{5}, after correction \boxed{7}.", {"answer": "7"}, 1.0),
    (r"First \boxed{7}, after correction \boxed{5}.", {"answer": "7"}, 0.0),
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
    _case("1591", r"\frac{3182}{2}", 0.0),
    _case("1000", "10^{3}", 0.0),
    _case("5", r"\sqrt{3^2+4^2}", 0.0),
    _case("5", "x+5-x", 0.0),
    _case("1000000", "1,000,000", 1.0),
    _case("1{,}234", r"1\,234", 1.0),
    _case("12", "１２", 1.0),
    _case("-6", "−6", 1.0),
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
    _case(r"12\text{ cm}", r"12\text{ km}", 0.0),
    _case("1234.5", "1.234,5", 1.0, language="es"),
    _case("1234.5", "1.234,5", 0.0, language="en"),
    _case(r"\text{Monday}", "monday", 1.0),
    _case(r"\text{even}", r"\text{neve}", 0.0),
    _case(r"\text{참}", r"\text{거짓}", 0.0),
    _case(r"\frac{\pi}{4}", "0.785398", 1.0),
    _case(r"\pi", "3.14", 0.0),
    _case(r"\sqrt{12}", r"2\sqrt{3}", 1.0),
    _case(r"10\pi", r"2\pi\cdot5", 0.0),
    _case("x^2+2x+1", "(x+1)^2", 1.0),
    _case("x^2+1", "y^2+1", 0.0),
    _case(r"\{1,2,3\}", "3,2,1", 1.0),
    _case("(1,2)", r"\{1,2\}", 0.0),
    _case("[0,1)", "(0,1)", 0.0),
    _case("7", "9^{9^{9}}", 0.0),
    _case("x", "9^{9^{9}}", 0.0),
]
