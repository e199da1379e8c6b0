"""When a reward breaks: its verdict, and the share of a batch that may have one before the run stops."""

import traceback
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

from posttrain.errors import UserError
from rewards.contract import Verdict

ENOUGH_ATTEMPTS = 20  # fewer say nothing about a share
_LONGEST_LINE = 300  # characters
Cause = Literal["raised", "no_verdict", "timeout", "died"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
_SHOWN_CALLS = 3  # where a verdict is refused the first of them is the reward


@dataclass(frozen=True, slots=True)
class BrokenVerdict(Verdict):
    """The verdict of a reward that raised, hung, died or returned something else; its score is always None.

    Attributes:
        cause: it raised; returned what is no verdict; was still at work when the time was up; ended its process.
        trace: where it raised: the innermost calls, the last one last, as `file:line in function: code`.
    """

    cause: Cause = "no_verdict"
    trace: str = ""

    @classmethod
    def because(cls, cause: Cause, reason: str) -> Self:
        """The verdict of a reward that did not raise and gave no verdict either."""
        return cls(score=None, reason=reason, cause=cause)

    @classmethod
    def raised(cls, error: BaseException) -> Self:
        """The verdict of a reward that raised `error`, which the caller has just caught."""
        caught = traceback.TracebackException.from_exception(error)
        calls = caught.stack[1:][-_SHOWN_CALLS:]  # the first is the caller
        trace = " > ".join(_line(f"{call.filename}:{call.lineno} in {call.name}: {call.line}") for call in calls)
        reason = _line(f"raised {type(error).__name__}: {caught}".rstrip(": "))
        return cls(score=None, reason=reason, cause="raised", trace=trace)


@dataclass(slots=True)
class _Batch:
    num_attempts: int
    num_graded: int = 0
    broken: dict[int, Mapping[str, BrokenVerdict]] = field(default_factory=dict)  # attempt -> reward -> verdict


class BrokenBudget:
    """Counts broken verdicts and stops the run when they are too many.

    The share is that of the last batch. A batch of fewer than 20 attempts is judged together with as many of the
    batches before it as make up 20, and as long as there are not that many, with attempts that did not break: at the
    default of 5 % one of them may, the second stops the run. So a run of tiny batches that all break cannot go on.

    Attributes:
        counts: broken verdicts by reward and cause, of all batches.
    """

    def __init__(self, max_share: float) -> None:
        self.counts: dict[str, Counter[Cause]] = {}
        self._max_share = max_share
        self._recent: deque[_Batch] = deque()

    def begin(self, num_attempts: int) -> None:
        """A new batch."""
        self._recent.append(_Batch(num_attempts))
        while sum(batch.num_attempts for batch in self._recent) - self._recent[0].num_attempts >= ENOUGH_ATTEMPTS:
            self._recent.popleft()

    def count(self, index: int, broken: Mapping[str, BrokenVerdict]) -> None:
        """Attempt `index` of the batch is graded, with these broken verdicts by reward.

        Raises:
            UserError: too many attempts of the batch have one.
        """
        batch = self._recent[-1]
        batch.num_graded += 1
        if not broken:
            return
        batch.broken[index] = broken
        for name, verdict in broken.items():
            self.counts.setdefault(name, Counter())[verdict.cause] += 1
        num_attempts = max(sum(batch.num_attempts for batch in self._recent), ENOUGH_ATTEMPTS)
        if sum(len(batch.broken) for batch in self._recent) > self._max_share * num_attempts:
            raise self._too_many()

    def _too_many(self) -> UserError:
        broken = [batch.broken[index] for batch in self._recent for index in sorted(batch.broken)]
        num_graded = sum(batch.num_graded for batch in self._recent)
        by_reward = Counter(name for rewards in broken for name in rewards)
        counts = ", ".join(f"'{name}' {count} times" for name, count in by_reward.most_common())
        name, first = next(iter(broken[0].items()))
        where = f" at {first.trace}" if first.trace else ""
        return UserError(
            f"rewards broke on {len(broken)} of the last {num_graded} attempts ({counts}), need at most "
            f"{self._max_share:.3g} of them (grading.max_broken_share); first '{name}': {first.reason}{where}; mend "
            "the reward (a wrong answer is score 0, a row that it cannot judge score None), or leave out the rows that "
            "break it"
        )


def _line(text: str) -> str:
    """On one line, not too long, and in characters that every file takes."""
    line = " ".join(text.split()).encode("utf-8", "replace").decode()
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"
