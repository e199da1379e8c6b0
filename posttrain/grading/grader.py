"""Grade attempts with the recipe's rewards: a weighted score, and the binary outcome kept apart."""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

from posttrain.errors import UserError
from posttrain.grading.broken import BrokenVerdict
from posttrain.grading.event_loop import start
from posttrain.grading.trl_style import TrlReward
from posttrain.plugins import build
from posttrain.recipe import RewardSpec
from rewards.contract import Attempt, Verdict, declared, grades_groups, make_attempt, seen_attempt

Judgement = Callable[[], Verdict]  # waits for the verdict, again and again the same one


class Graded(NamedTuple):
    """What all rewards say of one attempt.

    A broken verdict never becomes a 0. In a sum the missing score would be one, next to samples of the same prompt
    that have theirs; so an attempt at which a reward with a weight broke has no reward. In the outcome a broken reward
    has no voice, as one that does not say.

    Attributes:
        reward: the weighted sum of the scores, or None when no reward that has a weight could judge the attempt, or one
            of those broke.
        outcome: is it correct? False if any reward says no, True if one says yes and none says no, else None.
        verdicts: by reward name, for the rewards that apply to the row.
    """

    reward: float | None
    outcome: bool | None
    verdicts: dict[str, Verdict]

    @property
    def broken(self) -> dict[str, BrokenVerdict]:
        """The verdicts of the rewards that broke, by name."""
        return {name: verdict for name, verdict in self.verdicts.items() if isinstance(verdict, BrokenVerdict)}


@dataclass(frozen=True, slots=True)
class LoadedReward:
    """One of the recipe's rewards, ready to judge.

    Attributes:
        plugin: what the recipe names, for what it declares beside the call.
        judge: gives the verdict, or a coroutine of it when `is_async`.
        description: what it says of the machine it works with.
    """

    name: str
    plugin: Any
    judge: Callable[[Attempt], Verdict | Awaitable[Verdict]]
    is_async: bool
    when: Mapping[str, Sequence[Any]]
    weight: float
    description: Mapping[str, str]

    def applies(self, attempt: Attempt) -> bool:
        """Whether this reward grades the attempt's row."""
        columns = {**attempt.row, "mode": attempt.mode}
        return all(columns.get(column) in values for column, values in self.when.items())

    def seen(self, attempt: Attempt) -> Attempt:
        """What the reward is shown of an attempt."""
        return seen_attempt(self.plugin, attempt)

    def __call__(self, attempt: Attempt) -> Verdict:
        """The verdict, a `BrokenVerdict` where the reward raises or returns what is none."""
        return self.begin(self.seen(attempt))()

    def begin(self, seen: Attempt) -> Judgement:
        """Begin to judge: an async reward goes to work at once, any other when the judgement is asked for."""
        return start(self._awaited(seen)).result if self.is_async else cache(partial(self._called, seen))

    def _called(self, seen: Attempt) -> Verdict:
        try:
            return _checked(self.judge(seen))
        except (Exception, SystemExit) as error:  # noqa: BLE001  the border to foreign code: its failure is data
            return BrokenVerdict.raised(error)

    async def _awaited(self, seen: Attempt) -> Verdict:
        try:
            return _checked(await self.judge(seen))  # type: ignore[misc]  # async, so it is an awaitable
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001  as above
            return BrokenVerdict.raised(error)


class Grader:
    """The recipe's rewards, ready to grade in this process, where one that hangs or dies takes everything with it.

    Raises:
        UserError: a reward cannot be loaded or cannot work on this machine, grades groups, or two have the same name.
    """

    def __init__(self, specs: Sequence[RewardSpec]) -> None:
        self._rewards = load_rewards(specs)
        for reward in self._rewards:
            if grades_groups(reward.plugin):
                raise UserError(
                    f"reward '{reward.name}' compares the responses to a prompt with each other, which only "
                    "`posttrain pairs` lets it do; leave it out here"
                )

    @property
    def names(self) -> list[str]:
        """The rewards' names, in the recipe's order."""
        return [reward.name for reward in self._rewards]

    @property
    def descriptions(self) -> dict[str, dict[str, str]]:
        """By reward, what those that have something to say say of the machine they work with."""
        return {reward.name: dict(reward.description) for reward in self._rewards if reward.description}

    def rewards_for(self, attempt: Attempt) -> list[LoadedReward]:
        """The rewards that apply to the attempt's row, in the recipe's order."""
        return [reward for reward in self._rewards if reward.applies(attempt)]

    def grade(self, attempt: Attempt) -> Graded:
        """Grade one attempt."""
        rewards = self.rewards_for(attempt)
        return combine(rewards, [reward(attempt) for reward in rewards])


def combine(rewards: Sequence[LoadedReward], verdicts: Sequence[Verdict]) -> Graded:
    """What the verdicts of the rewards that apply to an attempt, one each, make together."""
    weighted = [(reward.weight, verdict) for reward, verdict in zip(rewards, verdicts, strict=True) if reward.weight]
    scores = [weight * verdict.score for weight, verdict in weighted if verdict.score is not None]
    is_broken = any(isinstance(verdict, BrokenVerdict) for _, verdict in weighted)
    outcomes = [verdict.outcome for verdict in verdicts if verdict.outcome is not None]
    return Graded(
        reward=math.fsum(scores) if scores and not is_broken else None,
        outcome=all(outcomes) if outcomes else None,
        verdicts={reward.name: verdict for reward, verdict in zip(rewards, verdicts, strict=True)},
    )


def load_rewards(specs: Sequence[RewardSpec]) -> list[LoadedReward]:
    """The recipe's rewards, in its order.

    Raises:
        UserError: a reward cannot be loaded, or two have the same name.
    """
    rewards = [_load(spec, index) for index, spec in enumerate(specs)]
    names = [reward.name for reward in rewards]
    if len(set(names)) != len(names):
        raise UserError(f"two rewards share a name in {names}; give one of them another with `name:`")
    return rewards


def _load(spec: RewardSpec, index: int) -> LoadedReward:
    where = f"rewards.{index}"
    name = spec.name or spec.use.rpartition(":")[2]
    plugin = build(spec.use, spec.args, where)
    try:
        judge = TrlReward(plugin) if spec.style == "trl" else plugin
        seen_attempt(plugin, make_attempt("", {}))
    except ValueError as error:
        raise UserError(f"{where}.use: {spec.use}: {error}") from error
    return LoadedReward(
        name,
        plugin,
        judge,
        is_async(plugin),
        when=spec.when,
        weight=spec.weight,
        description=_describe(plugin, spec.use, where),
    )


def _describe(plugin: Any, use: str, where: str) -> Mapping[str, str]:
    """What the reward's own `describe` says, where it has one."""
    describe = declared(plugin, "describe")
    if describe is None:
        return {}
    try:
        return dict(describe())
    except Exception as error:  # the border to foreign code: a reward that cannot work here
        raise UserError(f"{where}: {use} cannot work on this machine: {error}") from error


def is_async(plugin: Any) -> bool:
    """Whether calling it gives a coroutine: an `async def` function, or an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(plugin) or inspect.iscoroutinefunction(getattr(plugin, "__call__", None))  # noqa: B004


def _checked(verdict: Any) -> Verdict:
    fault = fault_of(verdict)
    return BrokenVerdict.because("no_verdict", fault) if fault else verdict


def fault_of(verdict: Any) -> str | None:
    """How what a reward returned breaks the contract; the score's range is the verdict's own affair."""
    if not isinstance(verdict, Verdict):
        return f"returned {type(verdict).__name__}, need rewards.Verdict"
    if not isinstance(verdict.outcome, bool | None):
        return f"returned an outcome of type {type(verdict.outcome).__name__}, need True, False or None"
    for name in ("extracted", "reason"):
        value = getattr(verdict, name)
        if not isinstance(value, str | None):  # it would break the log that it is written for
            return f"returned `{name}` of type {type(value).__name__}, need text"
    return None
