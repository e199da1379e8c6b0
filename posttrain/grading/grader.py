"""Grade attempts with the recipe's rewards: a weighted score, and the binary outcome kept apart."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from posttrain.errors import UserError
from posttrain.grading.trl_style import TrlReward
from posttrain.plugins import build
from posttrain.recipe import RewardSpec
from rewards.contract import Attempt, Verdict


class Graded(NamedTuple):
    """What all rewards say of one attempt.

    Attributes:
        reward: the weighted sum of the scores, or None when no reward that has a weight could judge the attempt.
        outcome: is it correct? False if any reward says no, True if one says yes and none says no, else None.
        verdicts: by reward name, for the rewards that apply to the row.
    """

    reward: float | None
    outcome: bool | None
    verdicts: dict[str, Verdict]


@dataclass(frozen=True, slots=True)
class _Reward:
    name: str
    grade: Callable[[Attempt], Verdict]
    when: Mapping[str, Sequence[Any]]
    weight: float

    def applies(self, attempt: Attempt) -> bool:
        columns = {**attempt.row, "mode": attempt.mode}
        return all(columns.get(column) in values for column, values in self.when.items())


class Grader:
    """The recipe's rewards, ready to grade.

    Raises:
        UserError: a reward cannot be loaded, or two have the same name.
    """

    def __init__(self, specs: Sequence[RewardSpec]) -> None:
        self._rewards = [_load(spec, index) for index, spec in enumerate(specs)]
        names = self.names
        if len(set(names)) != len(names):
            raise UserError(f"two rewards share a name in {names}; give one of them another with `name:`")

    @property
    def names(self) -> list[str]:
        """The rewards' names, in the recipe's order."""
        return [reward.name for reward in self._rewards]

    def grade(self, attempt: Attempt) -> Graded:
        """Grade one attempt. A grader that raises is broken: its error flies, it never becomes a 0."""
        applied = [reward for reward in self._rewards if reward.applies(attempt)]
        verdicts = {reward.name: reward.grade(attempt) for reward in applied}
        weighted = [
            reward.weight * score
            for reward in applied
            if reward.weight and (score := verdicts[reward.name].score) is not None
        ]
        outcomes = [verdict.outcome for verdict in verdicts.values() if verdict.outcome is not None]
        return Graded(
            reward=math.fsum(weighted) if weighted else None,
            outcome=all(outcomes) if outcomes else None,
            verdicts=verdicts,
        )


def _load(spec: RewardSpec, index: int) -> _Reward:
    where = f"rewards.{index}"
    name = spec.name or spec.use.rpartition(":")[2]
    plugin = build(spec.use, spec.args, where)
    grade = TrlReward(plugin) if spec.style == "trl" else plugin
    return _Reward(name=name, grade=grade, when=spec.when, weight=spec.weight)
