"""Needle in a haystack: one sentence in a long text has a code, and the model is asked for it."""

from collections.abc import Sequence
from typing import Any

from posttrain.evals.benchmark import Benchmark
from posttrain.haystack import make_rows, text_files
from posttrain.recipe import RewardSpec


def needle(
    *,
    tokenizer: Any,
    lengths: Sequence[int] = (1024, 2048, 4096),
    depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    languages: Sequence[str] = ("en", "ko", "es"),
    per_cell: int = 1,
    seed: int = 0,
    text: str | None = None,
) -> Benchmark:
    """Questions for every length, depth and language; results by length and depth.

    The arguments, and what is wrong with them, are those of `make_rows`.
    """
    rows = make_rows(
        tokenizer, lengths=lengths, depths=depths, languages=languages, per_cell=per_cell, seed=seed, text=text
    )
    files = text_files(text) if text else ()
    return Benchmark(rows, [RewardSpec(use="posttrain.haystack:values_found")], files, cells=("length", "depth"))
