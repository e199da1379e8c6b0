"""A reward with a clock, for grading workers to load in its place."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from posttrain.grading.broken import BrokenVerdict
from posttrain.grading.grader import load_rewards
from posttrain.grading.trl_style import UnboundedVerdict
from posttrain.recipe import RewardSpec
from rewards.contract import Attempt, Verdict, declared


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
        return _timed(verdict, seconds)


class TimedGroups:
    """The same for a group reward; every attempt of a group has its share of the time."""

    GRADES_GROUPS = True

    def __init__(self, use: str, args: Mapping[str, Any], style: Literal["attempt", "trl"]) -> None:
        (self._reward,) = load_rewards([RewardSpec(use=use, args=dict(args), style=style)])
        self.groups_at_a_time = declared(self._reward.plugin, "groups_at_a_time")

    def __call__(self, attempts: Sequence[Attempt]) -> Any:
        """Judge, and look at the clock before and after."""
        began = time.perf_counter()
        verdicts = self._reward.plugin([self._reward.seen(attempt) for attempt in attempts])
        seconds = (time.perf_counter() - began) / len(attempts)
        if not all(isinstance(verdict, Verdict) for verdict in verdicts):
            return verdicts  # for the pool to refuse
        return [_timed(verdict, seconds) for verdict in verdicts]


def _timed(verdict: Verdict, seconds: float) -> TimedVerdict:
    return TimedVerdict(verdict.score, verdict.outcome, verdict.extracted, verdict.reason, seconds=seconds)
