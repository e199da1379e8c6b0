"""`samples.parquet` as groups: all responses to a query, weighted by their rewards."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from posttrain.errors import UserError
from posttrain.objectives import group_weights

COLUMNS = ("query", "prompt_ids", "completion_ids", "reward", "mode", "language")


class SampleGroups(NamedTuple):
    """What a file gives: rows with `prompt_ids`, `completions`, `weights`, `mode`, `language`.

    Attributes:
        rows: one of each query that teaches something.
        skipped: the number of others by reason: `unscorable` (fewer than two responses with a reward) or
            `equal_rewards`.
    """

    rows: list[dict[str, Any]]
    skipped: dict[str, int]


def read_groups(path: Path) -> SampleGroups:
    """The queries of a `samples.parquet`, a file or a folder of them; responses without a reward are left out.

    Raises:
        UserError: no such file, not one of ours, an empty response, or no query with two different rewards.
    """
    if not path.exists():
        raise UserError(f"samples file '{path}' does not exist; make it with `posttrain pairs`, or mend the path")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"samples file '{path}' is not a Parquet file ({error}); make it with `posttrain pairs`"
        ) from error
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise UserError(f"samples file '{path}' has no column {', '.join(missing)}; make it with `posttrain pairs`")
    queries: dict[int, list[Mapping[str, Any]]] = {}
    for number, sample in enumerate(table.select(COLUMNS).to_pylist(), start=1):
        for column in ("prompt_ids", "completion_ids"):
            if not sample[column]:
                raise UserError(f"{path}:{number}: {column} is empty, there is no token to train; drop the row")
        queries.setdefault(sample["query"], []).append(sample)
    rows: list[dict[str, Any]] = []
    skipped: Counter[str] = Counter()
    for samples in queries.values():
        outcome = _group(samples)
        if isinstance(outcome, str):
            skipped[outcome] += 1
        else:
            rows.append(outcome)
    if not rows:
        raise UserError(
            f"samples file '{path}' has {len(queries)} queries and none whose responses differ in reward "
            f"({dict(skipped)}); nothing to learn from"
        )
    return SampleGroups(rows, dict(skipped))


def _group(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any] | str:
    """The row of a query, or why there is none."""
    scorable = [sample for sample in samples if sample["reward"] is not None]
    if len(scorable) < 2:
        return "unscorable"
    rewards = torch.tensor([[sample["reward"] for sample in scorable]], dtype=torch.float64)
    weights = group_weights(rewards, torch.ones_like(rewards, dtype=torch.bool))[0].tolist()
    if not any(weights):
        return "equal_rewards"
    return {
        "prompt_ids": scorable[0]["prompt_ids"],
        "completions": [sample["completion_ids"] for sample in scorable],
        "weights": weights,
        "mode": scorable[0]["mode"],
        "language": scorable[0]["language"],
    }
