r"""Formulas: rational functions by their values, and all others by math-verify, under a limit of CPU time.

math-verify's own limit is an alarm in wall time: on a busy machine it strikes while simple formulas are read, so that
the verdict would depend on the load. A signal can interrupt the main thread only.
"""

import logging
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from rewards._formulas import residue

TIME_LIMIT_S = 2  # of CPU time, for each of: read the gold, read the answer, compare

# Operations that only a gold answer may bring in: with them an answer is the question.
_CALCULATION = re.compile(
    r"\\(?:i{0,3}nt|oint|sum|prod|lim|gcd|lcm|det|max|min|sup|inf|deg|dim|binom|lfloor|lceil|operatorname|bmod|pmod|mod)"
    r"(?![A-Za-z])|\\frac\{(?:d|\\partial ?)(?=[\^}\\A-Za-z])|!|\bd/d|'|\\begin\{vmatrix\}"
)

_NAME = re.compile(r"[A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z]\))?")  # y, f(x)


def compare_formulas(gold: str, answer: str, *, is_value: bool) -> tuple[bool | None, str]:
    """Equal, not equal, or None: cannot be judged; and the reason for the latter two.

    Args:
        gold: Tidy LaTeX, as is `answer`.
        answer: What was boxed.
        is_value: It is a number or a closed literal, in which there is nothing left to calculate.
    """
    if set(_CALCULATION.findall(answer)) - set(_CALCULATION.findall(gold)):
        return False, "a calculation that is not finished"
    right, wanted = _right_side(answer, gold), residue(_right_side(gold, answer))
    if wanted and wanted[1] and (value := residue(right)):
        return value[0] == wanted[0], "not equal"
    if threading.current_thread() is not threading.main_thread():
        return None, "this gold answer needs a time limit, which only the main thread has: grade it in a process"
    return _compare(gold, answer, is_value)


@lru_cache(maxsize=4096)
def _compare(gold: str, answer: str, is_value: bool) -> tuple[bool | None, str]:
    from math_verify import verify

    wanted = _read(gold)
    if isinstance(wanted, str):
        return None, f"gold answer: {wanted}"
    if gold == answer:
        return True, ""
    if getattr(wanted, "is_number", False) and not (is_value or _signs(answer) <= _signs(gold)):
        return False, "a calculation that is not finished"
    if (gold[0] in "([" and answer.startswith(r"\{")) or (answer[0] in "([" and gold.startswith(r"\{")):
        return False, "a set is not a pair or an interval"
    value = _read(answer)
    if isinstance(value, str):
        return False, value
    try:
        with _cpu_limit():
            return bool(verify(wanted, value, timeout_seconds=None, raise_on_error=True)), "not equal"
    except _OutOfTime:
        return False, f"not decided in {TIME_LIMIT_S} s"
    except Exception:  # noqa: BLE001  whatever sympy raises, this is how math-verify says "not equal"
        return False, "not comparable"


@lru_cache(maxsize=4096)
def _read(text: str) -> Any:
    """A sympy object, or why there is none. The reason is kept too: a text that takes too long does so once."""
    from math_verify import LatexExtractionConfig, parse

    config = [LatexExtractionConfig(boxed_match_priority=-1)]
    try:
        with _cpu_limit():  # between dollars: without them math-verify reads 3+4i as 3
            found = parse(f"${text}$", config, "no_fallback", parsing_timeout=None, raise_on_error=True)
    except _OutOfTime:
        return f"not read in {TIME_LIMIT_S} s"
    except Exception:  # noqa: BLE001  whatever its parser raises, the text is none that it reads
        found = []
    return found[0] if found else "not readable as mathematics"


class _OutOfTime(BaseException):
    """Not an `Exception`, which the libraries catch."""


@contextmanager
def _cpu_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _OutOfTime

    for module in ("parser", "grader"):  # they warn that their own limit is off
        logging.getLogger(f"math_verify.{module}").setLevel(logging.ERROR)
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT_S, 0.1)  # again and again: in a destructor it would be swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _right_side(text: str, other: str) -> str:
    """Without the `y=` that the other side leaves out, or has too."""
    name, sign, right = text.partition("=")
    is_same = other.startswith(text[: len(name) + 1]) or "=" not in other
    return right if sign and is_same and _NAME.fullmatch(name) and name not in right else text


def _signs(text: str) -> set[str]:
    """Commands, letters and operators: everything but digits, brackets and a leading sign."""
    return set(re.findall(r"\\[A-Za-z]+|[^\s{}()\d.]", text.lstrip("+-")))
