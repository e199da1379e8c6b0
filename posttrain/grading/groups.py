"""Rewards that grade all responses to a prompt together, beside those that grade one attempt at a time."""

import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from posttrain.errors import UserError
from posttrain.grading.broken import BrokenBudget, BrokenVerdict, Cause
from posttrain.grading.grader import Graded, LoadedReward, combine, fault_of, load_rewards
from posttrain.grading.pool import GradingPool
from posttrain.recipe import GradingSection, RewardSpec
from posttrain.terminal import progress_line
from rewards.contract import Attempt, Verdict, declared, grades_groups

_SECONDS_OF_SILENCE = 10.0


class GroupGradingPool(GradingPool):
    """A grading pool that knows group rewards too (see `rewards.contract`).

    Rewards of single attempts run in its workers. A group reward then gets each group whole, in this process, where a
    model or many connections can be kept open, with as many groups in its hands as it says (`groups_at_a_time`).

    When a group reward raises or returns no verdicts, all attempts of the group are broken by it, and counted. When it
    can judge some of them and not others, those it cannot have no reward: beside the sums of the others theirs would
    lack a term.

    Args:
        specs: the recipe's rewards.
        section: the recipe's `grading`.

    Raises:
        UserError: a reward cannot be loaded, or two have the same name.
    """

    def __init__(self, specs: Sequence[RewardSpec], section: GradingSection) -> None:
        self._all_rewards = load_rewards(specs)
        self._group_rewards = [reward for reward in self._all_rewards if grades_groups(reward.plugin)]
        for reward in self._group_rewards:
            if reward.is_async:
                raise UserError(f"reward '{reward.name}' grades groups and is async; need a plain call, which may wait")
        others = [
            spec for spec, reward in zip(specs, self._all_rewards, strict=True) if not grades_groups(reward.plugin)
        ]
        super().__init__(others, section)
        self._group_budget = BrokenBudget(section.max_broken_share)

    @property
    def names(self) -> list[str]:
        """The rewards' names, in the recipe's order."""
        return [reward.name for reward in self._all_rewards]

    @property
    def descriptions(self) -> dict[str, dict[str, str]]:
        """By reward, what those that have something to say say of the machine they work with."""
        return {reward.name: dict(reward.description) for reward in self._all_rewards if reward.description}

    @property
    def broken(self) -> dict[str, Counter[Cause]]:
        """How often each reward broke, by cause, in all batches; those that never did are not in it."""
        return super().broken | self._group_budget.counts

    def grade_groups(self, groups: Sequence[Sequence[Attempt]]) -> list[list[Graded]]:
        """Grade groups of attempts, each at one prompt.

        Raises:
            UserError: as in `grade_all`.
        """
        graded = super().grade_groups(groups)
        found: list[list[dict[str, Verdict]]] = [[{} for _ in group] for group in groups]
        for reward in self._group_rewards:
            with closing(self._judged(reward, groups)) as verdicts:
                for group, some in zip(found, verdicts, strict=True):
                    for one, verdict in zip(group, some, strict=True):
                        one |= {} if verdict is None else {reward.name: verdict}
        return [self._combined(group, verdicts) for group, verdicts in zip(graded, found, strict=True)]

    def _judged(self, reward: LoadedReward, groups: Sequence[Sequence[Attempt]]) -> Generator[list[Verdict | None]]:
        """What a group reward says of each group in turn; None of attempts that it does not apply to."""
        self._group_budget.begin(sum(map(len, groups)))
        num_counted, began, said_at = 0, time.monotonic(), time.monotonic()
        pool = ThreadPoolExecutor(max_workers=declared(reward.plugin, "groups_at_a_time") or 1)
        try:
            for num_done, verdicts in enumerate(pool.map(lambda group: _verdicts(reward, group), groups), start=1):
                for number, verdict in enumerate(verdicts, start=num_counted):
                    broken = {reward.name: verdict} if isinstance(verdict, BrokenVerdict) else {}
                    self._warn(broken)
                    self._group_budget.count(number, broken)
                num_counted += len(verdicts)
                if time.monotonic() - said_at > _SECONDS_OF_SILENCE:
                    said_at = time.monotonic()
                    seconds_left = (said_at - began) / num_done * (len(groups) - num_done)
                    progress_line(reward.name, num_done, len(groups), seconds_left, {})
                yield verdicts
        finally:
            pool.shutdown(cancel_futures=True)

    def _combined(self, group: Sequence[Graded], found: Sequence[Mapping[str, Verdict]]) -> list[Graded]:
        """A group with the verdicts of the group rewards, by name."""
        weighted = {reward.name for reward in self._group_rewards if reward.weight}
        judged = {name for verdicts in found for name in weighted & verdicts.keys() if verdicts[name].score is not None}
        whole = []
        for graded, verdicts in zip(group, found, strict=True):
            one = self._with(graded, verdicts)
            lacks_a_term = any(name in judged and verdicts[name].score is None for name in verdicts)
            whole.append(one._replace(reward=None) if lacks_a_term else one)
        return whole

    def _with(self, graded: Graded, verdicts: Mapping[str, Verdict]) -> Graded:
        by_name = {**graded.verdicts, **verdicts}
        rewards = [reward for reward in self._all_rewards if reward.name in by_name]
        whole = combine(rewards, [by_name[reward.name] for reward in rewards])
        is_lost = any(verdict.cause in ("timeout", "died") for verdict in graded.broken.values())
        return whole._replace(reward=None, outcome=None) if is_lost else whole


def _verdicts(reward: LoadedReward, group: Sequence[Attempt]) -> list[Verdict | None]:
    applies = [reward.applies(attempt) for attempt in group]
    shown = [reward.seen(attempt) for attempt, is_its_own in zip(group, applies, strict=True) if is_its_own]
    verdicts = iter(_called(reward, shown) if shown else [])
    return [next(verdicts) if is_its_own else None for is_its_own in applies]


def _called(reward: LoadedReward, shown: Sequence[Attempt]) -> Sequence[Verdict]:
    try:
        verdicts = reward.plugin(shown)
    except (Exception, SystemExit) as error:  # noqa: BLE001  the border to foreign code: its failure is data
        return [BrokenVerdict.raised(error)] * len(shown)
    fault = _fault(verdicts, len(shown))
    return [BrokenVerdict.because("no_verdict", fault)] * len(shown) if fault else verdicts


def _fault(verdicts: object, num_attempts: int) -> str | None:
    """How what a group reward returned breaks the contract."""
    if not isinstance(verdicts, Sequence) or len(verdicts) != num_attempts:
        size = f" of {len(verdicts)}" if isinstance(verdicts, Sequence) else ""
        return f"returned {type(verdicts).__name__}{size}, need a verdict for each of {num_attempts} attempts"
    return next((fault for verdict in verdicts if (fault := fault_of(verdict))), None)
