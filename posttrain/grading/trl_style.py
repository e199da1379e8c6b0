"""Rewards written for TRL, `f(prompts, completions, **columns) -> list[float | None]`, as rewards of ours."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rewards.contract import Attempt, Verdict


@dataclass(frozen=True, slots=True)
class UnboundedVerdict(Verdict):
    """A verdict whose score may be any finite number, as TRL allows."""

    def __post_init__(self) -> None:
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"a TRL-style reward returned {self.score}; a score is a finite number or None")


@dataclass(frozen=True, slots=True)
class TrlReward:
    """Calls a TRL reward with a batch of one. It says nothing about correctness, so the outcome stays None."""

    function: Callable[..., list[float | None]]

    def __call__(self, attempt: Attempt) -> Verdict:
        """Grade one attempt; the completion is the visible answer as an assistant message."""
        columns: dict[str, list[Any]] = {key: [value] for key, value in attempt.row.items()}
        completion = [{"role": "assistant", "content": attempt.answer}]
        scores = self.function(prompts=[attempt.prompt], completions=[completion], **columns)
        if len(scores) != 1:
            raise ValueError(
                f"a TRL-style reward returned {len(scores)} scores for one completion; it must return one each"
            )
        score = None if scores[0] is None else float(scores[0])  # a number of NumPy or torch is one
        return UnboundedVerdict(score=score, reason="TRL-style reward")
