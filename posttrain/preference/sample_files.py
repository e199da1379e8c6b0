"""`samples.parquet` as groups: all responses to a query, weighted by their rewards."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from posttrain.chat import Origin
from posttrain.errors import UserError
from posttrain.objectives import group_weights
from posttrain.preference.tables import read_columns

_COLUMNS = ["query", "prompt_ids", "token_ids", "is_truncated", "reward", "mode", "language"]


class SampleGroups(NamedTuple):
    """What a file gives: rows with `prompt_ids`, `completions`, `weights`, `mode`, `language`.

    Attributes:
        rows: one of each query that teaches something.
        skipped: the number of others by reason: `unscorable` (fewer than two responses with a reward), `equal_rewards`
            or `best_cut_off` (no whole response is better than the mean).
    """

    rows: list[dict[str, Any]]
    skipped: dict[str, int]


def read_groups(path: Path, origin: Origin) -> SampleGroups:
    """The queries of a `samples.parquet` folder (or file) as groups.

    Responses without a reward are left out. One that was cut off is nobody's example: its reward counts in the group's
    mean, but its weight is not above 0.

    Raises:
        UserError: no such file, not one of ours or not graded, made with another template or vocabulary, an empty
            response, or no query with two different rewards.
    """
    table = read_columns(path, "samples file", [*_COLUMNS, *origin._fields], may_be_folder=True)
    for name, needed in origin._asdict().items():
        if others := set(table[name].unique().to_pylist()) - {needed}:
            what = "chat template" if name == "template_sha256" else "tokenizer"
            raise UserError(
                f"samples file '{path}' was made with another {what} ({name} {str(others.pop())[:12]}, the model's is "
                f"{needed[:12]}); sample with this model, or train the model that was sampled from"
            )
    queries: dict[int, list[Mapping[str, Any]]] = {}
    for number, sample in enumerate(table.select(_COLUMNS).to_pylist(), start=1):
        if sample["mode"] is None:
            raise UserError(f"{path}:{number}: is not graded; let `posttrain pairs` finish (--resume)")
        for column in ("prompt_ids", "token_ids"):
            if not sample[column]:
                raise UserError(f"{path}:{number}: {column} is empty, there is no token to train; drop the row")
        queries.setdefault(sample["query"], []).append(sample)
    outcomes = [_group(samples) for samples in queries.values()]
    skipped = Counter(outcome for outcome in outcomes if isinstance(outcome, str))
    rows = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    if not rows:
        counts = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
        raise UserError(
            f"samples file '{path}' has {len(queries)} queries and none whose responses differ in reward ({counts}); "
            "check the rewards"
        )
    return SampleGroups(rows, dict(skipped))


def _group(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any] | str:
    """The row of a query, or why there is none."""
    scorable = [sample for sample in samples if sample["reward"] is not None]
    if len(scorable) < 2:
        return "unscorable"
    rewards = torch.tensor([[sample["reward"] for sample in scorable]], dtype=torch.float64)
    weights = group_weights(rewards, torch.ones_like(rewards, dtype=torch.bool))[0].tolist()
    for index, sample in enumerate(scorable):
        if sample["is_truncated"]:
            weights[index] = min(weights[index], 0.0)
    if max(weights) <= 0:
        return "equal_rewards" if not any(weights) else "best_cut_off"
    return {
        "prompt_ids": scorable[0]["prompt_ids"],
        "completions": [sample["token_ids"] for sample in scorable],
        "weights": weights,
        "mode": scorable[0]["mode"],
        "language": scorable[0]["language"],
    }
