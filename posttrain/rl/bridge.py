"""From our rewards to TRL's reward functions: one column per reward, and the binary outcome as one more."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from posttrain.grading import CAUSES, Graded, GradingPool, read_attempt
from rewards.contract import Attempt

OUTCOME = "outcome"
BROKEN_DOWN_BY = ("domain", "language")  # columns whose values get a mean reward and outcome of their own

LogMetric = Callable[[str, float], None]


class Sample(NamedTuple):
    """One graded response."""

    attempt: Attempt
    graded: Graded


class RewardBridge:
    """Grades every batch once and hands TRL one function per reward.

    Rows carry their columns as JSON in `row` (rows of several sources need not share a schema). A score of None
    reaches TRL as None, so that a sample nobody can judge is left out instead of counting as wrong.
    """

    def __init__(self, grader: GradingPool, tokenizer: Any, eos_ids: Sequence[int]) -> None:
        self._grader = grader
        self._tokenizer = tokenizer
        self._eos_ids = frozenset(eos_ids)
        self._batch: object = None
        self._samples: list[Sample] = []  # of the last batch
        self._kept: list[Sample] = []

    def take(self) -> list[Sample]:
        """What this process graded since the last call, in the order of the rollouts."""
        kept, self._kept = self._kept, []
        return kept

    def functions(self) -> list[Callable[..., list[float | None]]]:
        """One function per reward in the recipe's order, and `outcome` last (1 right, 0 wrong, None unknown)."""
        columns = [self._column(name, partial(_score, name)) for name in self._grader.names]
        return [*columns, self._column(OUTCOME, _outcome)]

    def _column(self, name: str, value: Callable[[Graded], float | None]) -> Callable[..., list[float | None]]:
        def column(
            completion_ids: list[list[int]], row: list[str], log_metric: LogMetric | None = None, **_: Any
        ) -> list[float | None]:
            if completion_ids is not self._batch:  # TRL passes the same list to every function of a batch
                self._grade(completion_ids, row)
                if log_metric is not None:
                    _log(self._samples, log_metric)
            return [value(sample.graded) for sample in self._samples]

        column.__name__ = name
        return column

    def _grade(self, completion_ids: list[list[int]], rows: list[str]) -> None:
        attempts = [self._read(ids, json.loads(row)) for ids, row in zip(completion_ids, rows, strict=True)]
        self._samples = [Sample(*both) for both in zip(attempts, self._grader.grade_all(attempts), strict=True)]
        self._kept += self._samples
        self._batch = completion_ids

    def _read(self, ids: list[int], row: dict[str, Any]) -> Attempt:
        is_truncated = not ids or ids[-1] not in self._eos_ids
        return read_attempt(self._tokenizer, row, ids, mode=row["mode"], is_truncated=is_truncated)


def _log(samples: Sequence[Sample], log_metric: LogMetric) -> None:
    """One value per sample; TRL makes them means over all processes."""
    for attempt, graded in samples:
        log_metric("length/thinking", attempt.num_thinking_tokens)
        log_metric("length/answer", attempt.num_tokens - attempt.num_thinking_tokens)
        log_metric("length/truncated", float(attempt.is_truncated))
        log_metric("samples/broken", float(bool(graded.broken)))
        causes = {verdict.cause for verdict in graded.broken.values()}
        for cause in CAUSES:
            log_metric(f"samples/broken/{cause}", float(cause in causes))
        for column in BROKEN_DOWN_BY:
            if column in attempt.row:
                group = f"{column}/{attempt.row[column]}"
                if graded.reward is not None:
                    log_metric(f"reward/{group}", graded.reward)
                if graded.outcome is not None:
                    log_metric(f"outcome/{group}", float(graded.outcome))


def _score(name: str, graded: Graded) -> float | None:
    verdict = graded.verdicts.get(name)
    return None if verdict is None else verdict.score


def _outcome(graded: Graded) -> float | None:
    """None without a reward too: by the outcome the trainer tells what is unscorable; the scores alone it would sum."""
    return None if graded.outcome is None or graded.reward is None else float(graded.outcome)
