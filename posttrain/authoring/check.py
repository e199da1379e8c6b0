"""`posttrain rewards check use=pkg.mod:object data=rows.jsonl`: what a reward says of rows, before a run learns it."""

import statistics
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Literal, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from posttrain.authoring.probes import Probe, is_as_it_should, make_probes
from posttrain.authoring.timed import TimedVerdict
from posttrain.data.rows import read_all
from posttrain.grading.broken import BrokenVerdict
from posttrain.grading.grader import load_rewards
from posttrain.grading.groups import GroupGradingPool
from posttrain.recipe import GradingSection, RewardSpec, Source, load_settings
from posttrain.recipe.limits import AT_LEAST_ONE, POSITIVE
from posttrain.recipe.sections import Free
from posttrain.terminal import console
from rewards.contract import Verdict, declared, grades_groups

EXIT_FAILED = 1
WIDTH = 80  # columns
WORST_SHOWN, SLOWEST_SHOWN = 10, 3  # rows
LOST_ALLOWED = 3  # attempts whose time is up, or whose worker died; each costs the time limit
_FIRST_BATCH, _LARGEST_BATCH = (
    8,
    512,
)  # attempts, or groups of them; small at first, to be done soon with a reward that hangs
_LONGEST_ANSWER = 40  # characters


@dataclass(frozen=True, kw_only=True)
class RewardCheck:
    """What to check: the reward as in a recipe, the rows, how many of them, and how it is run."""

    use: str
    data: str
    args: Free = field(default_factory=dict)
    style: Literal["attempt", "trl"] = "attempt"
    limit: int | None = field(default=None, metadata=AT_LEAST_ONE)
    timeout_s: float = field(default=10.0, metadata=POSITIVE)
    workers: int | None = field(default=None, metadata=AT_LEAST_ONE)


class Result(NamedTuple):
    """What the reward said to a probe: `ok`, as it should be, or `failed`, `broke`, or `unjudged`: score None."""

    probe: Probe
    verdict: Verdict
    state: Literal["ok", "failed", "broke", "unjudged"]

    @property
    def seconds(self) -> float | None:
        """How long it took; None where it broke."""
        return self.verdict.seconds if isinstance(self.verdict, TimedVerdict) else None


def check_reward(*words: str) -> int:
    """Check a reward against rows and print what was found; the exit code: 1 if something failed or broke.

    Args:
        words: `key=value`, see `RewardCheck`.

    Raises:
        UserError: a mistake in the words, the reward or the rows.
    """
    settings = load_settings(RewardCheck, words)
    spec = RewardSpec(use=settings.use, args=settings.args, style=settings.style)
    (reward,) = load_rewards([spec])
    rows = read_all([Source(path=settings.data)])[: settings.limit]
    probes = list(make_probes(reward, rows))
    in_groups = grades_groups(reward.plugin)
    units = (
        [list(some) for _, some in groupby(probes, key=attrgetter("row"))] if in_groups else [[one] for one in probes]
    )
    results = list(_results(units, settings, in_groups=in_groups))
    console.print(Text(f"{settings.use} on {len(rows):,} rows of {settings.data}"))
    console.print(_summary(results), soft_wrap=False)
    for line in _remarks(results, len(probes), has_gold=declared(reward.plugin, "gold_answer") is not None):
        console.print(Text(line))
    console.print(_worst(results), soft_wrap=False)
    is_well = all(result.state in ("ok", "unjudged") for result in results) and len(results) == len(probes)
    return 0 if is_well and any(result.state == "ok" for result in results) else EXIT_FAILED


def _results(units: Iterable[Sequence[Probe]], settings: RewardCheck, *, in_groups: bool) -> Iterator[Result]:
    """What the reward says of probes that it is shown together, until too many attempts are lost."""
    timed = {"use": settings.use, "args": settings.args, "style": settings.style}
    spec = RewardSpec(
        use=f"posttrain.authoring.timed:{'TimedGroups' if in_groups else 'Timed'}", args=timed, name="reward"
    )
    section = GradingSection(workers=settings.workers, timeout_s=settings.timeout_s, max_broken_share=1.0)
    remaining, size, num_lost = iter(units), _FIRST_BATCH, 0
    with GroupGradingPool([spec], section) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="reward ")  # the table will tell
        while num_lost < LOST_ALLOWED and (batch := list(islice(remaining, size))):
            size = min(2 * size, _LARGEST_BATCH)
            groups = pool.grade_groups([[probe.attempt for probe in unit] for unit in batch])
            for probe, graded in zip(chain(*batch), chain(*groups), strict=True):
                verdict = graded.verdicts["reward"]
                num_lost += isinstance(verdict, BrokenVerdict) and verdict.cause in ("timeout", "died")
                yield Result(probe, verdict, _state(probe, verdict, settings.style))


def _state(probe: Probe, verdict: Verdict, style: str) -> Literal["ok", "failed", "broke", "unjudged"]:
    if isinstance(verdict, BrokenVerdict):
        return "broke"
    if not is_as_it_should(probe, verdict, style):
        return "failed"
    return "unjudged" if verdict.score is None else "ok"


def _summary(results: Sequence[Result]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, width=WIDTH)
    table.add_column("answer")
    for head in ("attempts", "ok", "failed", "broke", "no score", "p50 ms", "p99 ms", "max ms"):
        table.add_column(head, justify="right")
    for kind in ("gold", "empty", "hostile"):
        some = [result for result in results if result.probe.kind == kind]
        states = [result.state for result in some]
        seconds = sorted(result.seconds for result in some if result.seconds is not None)
        counts = [len(some), *(states.count(state) for state in ("ok", "failed", "broke", "unjudged"))]
        table.add_row(kind, *(f"{count:,}" for count in counts), *_quantiles_in_ms(seconds))
    return table


def _quantiles_in_ms(seconds: Sequence[float]) -> list[str]:
    if not seconds:
        return ["-"] * 3
    cuts = statistics.quantiles([*seconds, *seconds[:1]] if len(seconds) == 1 else seconds, n=100, method="inclusive")
    return [f"{1000 * value:.3g}" for value in (cuts[49], cuts[98], seconds[-1])]


def _remarks(results: Sequence[Result], num_probes: int, *, has_gold: bool) -> list[str]:
    """What the tables do not say."""
    remarks = []
    gold = [result for result in results if result.probe.kind == "gold"]
    if not has_gold:
        remarks.append("The gold answers are not checked: the reward declares no `gold_answer` (rewards/README.md).")
    elif not gold:
        remarks.append("The gold answers are not checked: no row has one.")
    elif all(result.verdict.outcome is None for result in gold if result.state == "ok"):
        remarks.append("The reward sets no outcome at any gold answer: it says nothing of right and wrong.")
    if all(result.state == "unjudged" for result in results):
        remarks.append("No row can be judged.")
    if len(results) < num_probes:
        remarks.append(
            f"Ended after {len(results):,} of {num_probes:,} attempts: too many of them got no verdict in time."
        )
    return remarks


def _worst(results: Sequence[Result]) -> Table:
    """A line a row and kind of answer: what broke, what failed, what has no score; the slowest if there are none."""
    order = ("broke", "failed", "unjudged", "ok")
    by_badness = sorted(results, key=lambda result: (order.index(result.state), -(result.seconds or 0.0)))
    firsts = {result.probe[:2]: result for result in reversed(by_badness)}  # by kind and row
    bad = [result for result in by_badness if result.state != "ok" and firsts[result.probe[:2]] is result]
    worst, title = (bad[:WORST_SHOWN], "the worst") if bad else (by_badness[:SLOWEST_SHOWN], "the slowest")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), width=WIDTH)
    for head in ("row", "ms"):
        table.add_column(head, justify="right")
    for head in ("answer", "", "why"):
        table.add_column(head, overflow="fold", ratio=1 if head == "why" else None)
    for result in worst:
        milliseconds = "-" if result.seconds is None else f"{1000 * result.seconds:.3g}"
        table.add_row(str(result.probe.row), milliseconds, result.probe.kind, result.state, Text(_why(result)))
    return table


def _why(result: Result) -> str:
    verdict, answer = result.verdict, result.probe.attempt.answer
    reason = verdict.reason or (f"score {verdict.score:g}" if verdict.score is not None else "")
    shown = answer if len(answer) <= _LONGEST_ANSWER else f"{answer[: _LONGEST_ANSWER - 1]}…"
    return f"{reason} {shown!r}" if shown else reason
