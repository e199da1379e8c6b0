"""A reward with a clock, for grading workers to load in its place."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from posttrain.grading.broken import BrokenVerdict
from posttrain.grading.grader import load_rewards
from posttrain.grading.trl_style import UnboundedVerdict
from posttrain.recipe import RewardSpec
from rewards.contract import Attempt, Verdict


@dataclass(frozen=True, slots=True)
class TimedVerdict(UnboundedVerdict):
    """A verdict, and the wall time in seconds that it took."""

    seconds: float = 0.0


class Timed:
    """The reward that `use`, `args` and `style` name, as in a recipe; its verdicts are timed unless they are broken."""

    def __init__(self, use: str, args: Mapping[str, Any], style: Literal["attempt", "trl"]) -> None:
        (self._reward,) = load_rewards([RewardSpec(use=use, args=dict(args), style=style)])

    def __call__(self, attempt: Attempt) -> Verdict:
        """Judge, and look at the clock before and after."""
        began = time.perf_counter()
        verdict = self._reward(attempt)
        seconds = time.perf_counter() - began
        if isinstance(verdict, BrokenVerdict):
            return verdict
        return TimedVerdict(verdict.score, verdict.outcome, verdict.extracted, verdict.reason, seconds=seconds)
