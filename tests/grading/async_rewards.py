"""Async rewards, right and wrong, for worker processes to import."""

import asyncio
import os
import time
from typing import Any

from rewards.contract import Attempt, Verdict

RIGHT = Verdict(1.0, outcome=True, extracted="x")
_waiting: list[asyncio.Event] = []


async def bad(attempt: Attempt) -> Any:
    """Does what the answer says."""
    await asyncio.sleep(0)
    deed = attempt.answer.partition(" ")[0]
    if deed == "raise":
        raise ZeroDivisionError("async")
    if deed == "cancel":
        raise asyncio.CancelledError
    if deed == "hang":
        await asyncio.sleep(600)
    if deed == "block":  # keeps the event loop from everybody
        time.sleep(600)
    if deed == "die":
        os._exit(3)
    return 0.5 if deed == "float" else RIGHT


class Judge:
    """An object with an async call and a setting."""

    def __init__(self, score: float) -> None:
        self.score = score

    async def __call__(self, attempt: Attempt) -> Verdict:
        await asyncio.sleep(0)
        return Verdict(self.score, reason=attempt.answer)


async def for_trl(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    await asyncio.sleep(0)
    return [2.5 for _ in completions]


async def together(attempt: Attempt) -> Verdict:
    """Waits until four are at work."""
    mine = asyncio.Event()
    _waiting.append(mine)
    if len(_waiting) == 4:
        for one in _waiting:
            one.set()
        _waiting.clear()
    await mine.wait()
    return RIGHT
