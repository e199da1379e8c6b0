"""Rewards that go wrong in every way there is, each at responses of its own; for worker processes to import."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rewards.contract import Attempt, Verdict

WAYS = ("nan", "infinite", "text", "no_verdict", "raises", "hangs", "kills", "wrong_length", "texts", "fine")


def even(attempt: Attempt) -> Verdict:
    """What is learnt: a noise model earns it about half of the time."""
    is_even = _number(attempt) % 2 == 0
    return Verdict(score=float(is_even), outcome=is_even)


@dataclass(frozen=True)
class Wrong:
    """Right but for one of ten responses, or for all of them, at which it goes wrong in this way."""

    way: str
    always: bool = False

    def __call__(self, attempt: Attempt) -> Any:
        """1, or what the way is."""
        if self.always or _number(attempt) % len(WAYS) == WAYS.index(self.way):
            return _WRONG[self.way]()
        return Verdict(1.0)


def _number(attempt: Attempt) -> int:
    """As good as drawn at random, and the same for the same response."""
    return sum(map(ord, attempt.answer + (attempt.thinking or "")))


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_WRONG: dict[str, Callable[[], Any]] = {
    "nan": lambda: Verdict(float("nan")),
    "infinite": lambda: Verdict(float("inf")),
    "text": lambda: Verdict("1"),  # type: ignore[arg-type]
    "no_verdict": lambda: 1.0,
    "raises": lambda: 1 / 0,
    "hangs": lambda: time.sleep(600),
    "kills": _kill,
}


def wrong_length(completions: list[Any], **_: Any) -> list[float]:
    """In TRL's style: two scores for some."""
    return [1.0, 0.0] if _is_chosen(completions, "wrong_length") else [1.0]


def texts(completions: list[Any], **_: Any) -> list[Any]:
    """In TRL's style: a text for some."""
    return ["good"] if _is_chosen(completions, "texts") else [1.0]


def _is_chosen(completions: list[Any], way: str) -> bool:
    return sum(map(ord, completions[0][0]["content"])) % len(WAYS) == WAYS.index(way)
