"""Batches of rollouts that wait for their update, and their file in a checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from posttrain.inference.policies import SampledTokens

FILE = "rollouts.npz"


class Batch(NamedTuple):
    """A batch of rollouts.

    Attributes:
        number: of the batch in the run, counted from 0.
        weights_version: the optimizer step whose weights sampled it.
        prompts_ids: each once.
        completions: prompt by prompt.
        mismatch_kl: nats a token between engine and trainer on these weights, by their probe; NaN: they had none.
        began: of the sampling, in seconds of the machine's clock.
        ended: likewise.
    """

    number: int
    weights_version: int
    prompts_ids: list[list[int]]
    completions: list[SampledTokens]
    mismatch_kl: float
    began: float
    ended: float


def write_pending(folder: str | Path, batches: Sequence[Batch]) -> None:
    """Write them into a checkpoint that is being made."""
    arrays: dict[str, Any] = {"numbers": [batch.number for batch in batches]}
    for batch in batches:
        completions = batch.completions
        columns = {
            "version": batch.weights_version,
            "clock": [batch.mismatch_kl, batch.began, batch.ended],
            "prompt_lengths": [len(ids) for ids in batch.prompts_ids],
            "prompts": [token for ids in batch.prompts_ids for token in ids],
            "lengths": [len(completion.token_ids) for completion in completions],
            "tokens": [token for completion in completions for token in completion.token_ids],
            "logps": [logp for completion in completions for logp in completion.logps],
        }
        arrays |= {f"{batch.number}.{name}": np.asarray(values) for name, values in columns.items()}
    np.savez(Path(folder) / FILE, **arrays)


def read_pending(folder: str | Path) -> list[Batch]:
    """Those of a checkpoint, in their order; none where the run that wrote it did not sample ahead."""
    path = Path(folder) / FILE
    if not path.exists():
        return []
    with np.load(path) as arrays:
        return [_batch(int(number), arrays) for number in arrays["numbers"]]


def _batch(number: int, arrays: Any) -> Batch:
    def column(name: str) -> list[Any]:
        values: list[Any] = arrays[f"{number}.{name}"].tolist()
        return values

    mismatch_kl, began, ended = column("clock")
    lengths = column("lengths")
    completions = zip(_cut(column("tokens"), lengths), _cut(column("logps"), lengths), strict=True)
    return Batch(
        number=number,
        weights_version=int(arrays[f"{number}.version"]),
        prompts_ids=_cut(column("prompts"), column("prompt_lengths")),
        completions=[SampledTokens(*both) for both in completions],
        mismatch_kl=mismatch_kl,
        began=began,
        ended=ended,
    )


def _cut(values: list[Any], lengths: list[int]) -> list[list[Any]]:
    rest = iter(values)
    return [[next(rest) for _ in range(length)] for length in lengths]
