"""Rows with something to find in a long text, in training and at the gate alike."""

from collections.abc import Sequence
from typing import Any

from posttrain.data.rows import Row
from posttrain.errors import UserError
from posttrain.evals.benchmarks.needle import needle
from posttrain.recipe import RewardSpec

TASKS = ("needle",)


def make_rows(
    tokenizer: Any,
    *,
    tasks: Sequence[str],
    lengths: Sequence[int],
    depths: Sequence[float],
    languages: Sequence[str],
    per_cell: int,
    seed: int,
) -> list[Row]:
    """`per_cell` rows for every task, length (of the message, in tokens), depth and language.

    Raises:
        UserError: there is no such task, or a length that the question alone exceeds.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise UserError(f"got the task {unknown[0]!r}, need one of {', '.join(TASKS)}")
    benchmark = needle(
        tokenizer=tokenizer, lengths=lengths, depths=depths, languages=languages, per_cell=per_cell, seed=seed
    )
    return [{**row, "task": "needle"} for row in benchmark.rows]


def rewards_of(tasks: Sequence[str]) -> list[RewardSpec]:
    """What grades the answers to them: the rewards of the evaluation."""
    return [RewardSpec(use="posttrain.evals.benchmarks.needle:needle_found")]
