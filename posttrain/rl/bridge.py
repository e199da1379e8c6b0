"""From our rewards to TRL's reward functions: one column per reward, and the binary outcome as one more."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from posttrain.grading import Graded, Grader, read_attempt
from rewards.contract import Attempt

OUTCOME = "outcome"


class RewardBridge:
    """Grades every batch once and hands TRL one function per reward.

    Rows carry their columns as JSON in `row` (rows of several sources need not share a schema). A score of None
    reaches TRL as None, so that a sample nobody can judge is left out instead of counting as wrong.

    Attributes:
        attempts: of the last batch, in this process.
        graded: likewise, in the same order.
    """

    def __init__(self, grader: Grader, tokenizer: Any, eos_ids: Sequence[int]) -> None:
        self._grader = grader
        self._tokenizer = tokenizer
        self._eos_ids = frozenset(eos_ids)
        self._batch: object = None
        self.attempts: list[Attempt] = []
        self.graded: list[Graded] = []

    def functions(self) -> list[Callable[..., list[float | None]]]:
        """One function per reward in the recipe's order, and `outcome` last (1 right, 0 wrong, None unknown)."""
        columns = [self._column(name, partial(_score, name)) for name in self._grader.names]
        return [*columns, self._column(OUTCOME, _outcome)]

    def _column(self, name: str, value: Callable[[Graded], float | None]) -> Callable[..., list[float | None]]:
        def column(completion_ids: list[list[int]], row: list[str], **_: Any) -> list[float | None]:
            self._grade(completion_ids, row)
            return [value(graded) for graded in self.graded]

        column.__name__ = name
        return column

    def _grade(self, completion_ids: list[list[int]], rows: list[str]) -> None:
        if completion_ids is self._batch:  # TRL passes the same list to every function of a batch
            return
        self.attempts = [self._read(ids, json.loads(row)) for ids, row in zip(completion_ids, rows, strict=True)]
        self.graded = [self._grader.grade(attempt) for attempt in self.attempts]
        self._batch = completion_ids

    def _read(self, ids: list[int], row: dict[str, Any]) -> Attempt:
        is_truncated = not ids or ids[-1] not in self._eos_ids
        return read_attempt(self._tokenizer, row, ids, mode=row["mode"], is_truncated=is_truncated)


def _score(name: str, graded: Graded) -> float | None:
    verdict = graded.verdicts.get(name)
    return None if verdict is None else verdict.score


def _outcome(graded: Graded) -> float | None:
    return None if graded.outcome is None else float(graded.outcome)
