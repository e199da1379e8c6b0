"""Does the gold answer of every row pass its own grader? Found out before anything is trained on the rows.

A row whose gold answer fails teaches that right answers are wrong. The usual causes: a gold in a form that the grader
does not read, a reward whose `when` lets in rows of another kind, a column that means something else.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from rich.markup import escape

from posttrain.errors import UserError
from posttrain.grading.attempts import empty_attempt
from posttrain.grading.broken import BrokenVerdict
from posttrain.grading.grader import LoadedReward, load_rewards
from posttrain.grading.pool import GradingPool
from posttrain.recipe import GradingSection, RewardSpec
from posttrain.terminal import say
from rewards.contract import Attempt, Verdict, declared, gold_answer_of

PlaceOf = Callable[[int], str]

_ROWS_AT_A_TIME = 1000
_SECONDS_OF_SILENCE = 2.0
_SHOWN = 3  # rows in an error
_FEWEST_ROWS = 20  # that a share is taken of
_LONGEST = 80  # characters of a gold answer in an error


class WrongGold(NamedTuple):
    """A row whose gold answer is wrong to a reward."""

    row: int
    place: str
    reward: str
    gold: str
    reason: str

    def __str__(self) -> str:
        gold = self.gold if len(self.gold) <= _LONGEST else f"{self.gold[: _LONGEST - 1]}…"
        return f"{self.place}: {self.reward} says of the gold answer {gold!r}: {self.reason or 'wrong'}"


@dataclass(slots=True)
class GoldReport:
    """What the rewards say of the rows' own gold answers.

    Attributes:
        place_of: names a row by its number.
        tallies: by reward, the rows that it grades: how many are right, wrong, and neither, in words.
        not_checked: the rewards that declare no `gold_answer`.
        wrong: in the order of the rewards, then of the rows.
        unjudged: rows that a reward can call neither right nor wrong, with its reason.
        judged: rows that some reward can judge.
    """

    place_of: PlaceOf = "row {}".format
    tallies: dict[str, Counter[str]] = field(default_factory=dict)
    not_checked: list[str] = field(default_factory=list)
    wrong: list[WrongGold] = field(default_factory=list)
    unjudged: dict[int, str] = field(default_factory=dict)
    judged: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        """In one line, such as `math_answer: 98 right, 2 cannot be judged (a.jsonl:7: ...); not checked: language`."""
        parts = []
        for name, tally in self.tallies.items():
            counts = ", ".join(f"{count:,} {kind}" for kind, count in tally.items())
            parts.append(f"{name}: {counts or 'grades no row'}")
        if self.unjudged:
            row, reason = next(iter(self.unjudged.items()))
            parts[-1] += f" ({self.place_of(row)}: {reason})"
        if self.not_checked:
            parts.append(f"not checked: {', '.join(self.not_checked)}")
        return "; ".join(parts)

    def count(self, name: str, row: int, gold: str | None, verdict: Verdict) -> None:
        """Add what reward `name` says of a row."""
        if isinstance(verdict, BrokenVerdict):  # of which the pool warns, and allows so many
            kind = "broke"
        elif verdict.score is None:
            kind = "cannot be judged"
            self.unjudged.setdefault(row, verdict.reason)
        else:
            kind = self._count_judged(name, row, gold, verdict)
        self.tallies[name][kind] += 1

    def _count_judged(self, name: str, row: int, gold: str | None, verdict: Verdict) -> str:
        self.judged.add(row)
        if gold is None:
            return "without a gold answer"
        if verdict.outcome is None:
            return "without an outcome"
        if verdict.outcome:
            return "right"
        self.wrong.append(WrongGold(row, self.place_of(row), name, gold, verdict.reason))
        return "wrong"


def require_gold(
    rows: Sequence[Mapping[str, Any]],
    specs: Sequence[RewardSpec],
    section: GradingSection,
    place_of: PlaceOf = "row {}".format,
    *,
    max_unjudged_share: float = 1.0,
) -> GoldReport:
    """Check every row's gold answer, which takes as long as grading one answer to each; above two seconds, says so.

    Args:
        rows: with `messages` (what is asked) and `mode`.
        specs: the recipe's rewards. Each is asked about its own gold answers, alone.
        section: the recipe's `grading`.
        place_of: names the row of a number, counted from 0, in messages.
        max_unjudged_share: of the rows, or of 20 where there are fewer; so many may be beyond the judgement of every
            reward that is asked, as their gold answer is missing or cannot be read.

    Raises:
        UserError: a gold answer is wrong, too many rows cannot be judged, or as in `GradingPool.grade_all`.
    """
    report = check_gold(rows, specs, section, place_of)
    if report.wrong:
        shown = "; ".join(map(str, report.wrong[:_SHOWN]))
        raise UserError(
            f"the gold answers of {len({one.row for one in report.wrong}):,} of {len(rows):,} rows fail their own "
            f"grader: {shown}{'; ...' if len(report.wrong) > _SHOWN else ''}; mend these rows or leave them out "
            "(`posttrain rewards check use=... data=...` shows the worst), change the reward or its `when`, or go on "
            "all the same with check_gold=false"
        )
    lost = [row for row in report.unjudged if row not in report.judged]
    if len(lost) > max_unjudged_share * max(len(rows), _FEWEST_ROWS):
        shown = "; ".join(f"{place_of(row)}: {report.unjudged[row]}" for row in lost[:_SHOWN])
        raise UserError(
            f"{len(lost):,} of {len(rows):,} rows cannot be judged, more than {max_unjudged_share:.0%}: "
            f"{shown}{'; ...' if len(lost) > _SHOWN else ''}; mend their gold answers or leave them out, change the "
            "reward or its `when`, or go on all the same with check_gold=false"
        )
    return report


def check_gold(
    rows: Sequence[Mapping[str, Any]],
    specs: Sequence[RewardSpec],
    section: GradingSection,
    place_of: PlaceOf = "row {}".format,
) -> GoldReport:
    """What the rewards say of the gold answers; as `require_gold`, which refuses wrong ones."""
    report = GoldReport(place_of)
    for spec, reward in zip(specs, load_rewards(specs), strict=True):
        if declared(reward.plugin, "gold_answer") is None:
            report.not_checked.append(reward.name)
            continue
        report.tallies[reward.name] = Counter()
        with GradingPool([spec], section) as pool:
            for row, gold, verdict in _graded(rows, reward, pool):
                report.count(reward.name, row, gold, verdict)
    return report


def gold_attempt(reward: LoadedReward, number: int, row: Mapping[str, Any]) -> tuple[str | None, Attempt]:
    """The row's gold answer, and the attempt that gives it; without one the empty attempt: can the row be judged?

    Raises:
        UserError: the reward's `gold_answer` raises or returns no text.
    """
    attempt = empty_attempt(row, mode=row["mode"])
    try:
        gold = gold_answer_of(reward.plugin, attempt.row)
    except Exception as error:  # foreign code, once more
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"gold_answer of {reward.name} raised {problem} at row {number}; mend it") from error
    if not isinstance(gold, str | None):
        got = type(gold).__name__
        raise UserError(f"gold_answer of {reward.name} returned {got} at row {number}; need text, or None for no gold")
    return gold, replace(attempt, answer=gold or "")


def _graded(
    rows: Sequence[Mapping[str, Any]], reward: LoadedReward, pool: GradingPool
) -> Iterator[tuple[int, str | None, Verdict]]:
    """The rows that the reward grades: number, gold answer, verdict. Says how far it is every other second."""
    graded_rows = [number for number, row in enumerate(rows) if reward.applies(empty_attempt(row, mode=row["mode"]))]
    last_said = time.monotonic()
    for start in range(0, len(graded_rows), _ROWS_AT_A_TIME):
        numbers = graded_rows[start : start + _ROWS_AT_A_TIME]
        golds = [gold_attempt(reward, number, rows[number]) for number in numbers]
        all_graded = pool.grade_all([attempt for _, attempt in golds])
        for number, (gold, _), graded in zip(numbers, golds, all_graded, strict=True):
            yield number, gold, graded.verdicts[reward.name]
        if time.monotonic() - last_said > _SECONDS_OF_SILENCE:
            last_said = time.monotonic()
            done = f"{start + len(numbers):,} of {len(graded_rows):,} rows"
            say(f"  gold answers: {escape(reward.name)} has graded {done}")
