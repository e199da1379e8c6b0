"""Rewards of whole groups, right and wrong."""

import threading
from collections.abc import Sequence
from typing import Any

from rewards.contract import Attempt, Verdict

GRADES_GROUPS = True


def longest(attempts: Sequence[Attempt]) -> list[Verdict]:
    """The rank by length, from 0 to 1; an answer that says `pass` cannot be judged."""
    most = max(len(attempt.answer) for attempt in attempts)
    return [
        Verdict(None, reason="pass") if attempt.answer == "pass" else Verdict(len(attempt.answer) / most)
        for attempt in attempts
    ]


def bad(attempts: Sequence[Attempt]) -> Any:
    """Does what the first answer says."""
    deed = attempts[0].answer
    if deed == "raise":
        raise ZeroDivisionError("a group")
    if deed == "exit":
        raise SystemExit(3)
    wrong = {"none": None, "few": [Verdict(1.0)], "floats": [0.5] * len(attempts)}
    return wrong.get(deed, [Verdict(1.0)] * len(attempts))


async def asynchronous(attempts: Sequence[Attempt]) -> list[Verdict]:
    return [Verdict(1.0) for _ in attempts]


class Together:
    """Waits until three groups are in its hands."""

    groups_at_a_time = 3

    def __init__(self) -> None:
        self._barrier = threading.Barrier(3, timeout=60)

    def __call__(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        self._barrier.wait()
        return [Verdict(1.0, reason=attempts[0].answer) for _ in attempts]


class SeesTheAnswer:
    SEES = ("answer",)

    def __call__(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        return [Verdict(1.0, reason=f"{attempt.answer} {attempt.thinking} {dict(attempt.row)}") for attempt in attempts]
