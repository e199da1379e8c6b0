"""Attempts at a mathematical question."""

from rewards import Verdict, make_attempt
from rewards.math_answer import math_answer


def grade(gold: str, boxed: str, **row: str) -> Verdict:
    return math_answer(make_attempt(rf"\boxed{{{boxed}}}", {"answer": gold, **row}))
