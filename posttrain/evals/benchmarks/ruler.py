"""Long-context tasks after RULER (arXiv 2404.06654): several needles, variables, frequent words, facts."""

from collections.abc import Sequence
from typing import Any

from posttrain.evals.benchmark import Benchmark
from posttrain.haystack import TASKS, make_rows, text_files
from posttrain.recipe import RewardSpec


def ruler(
    *,
    tokenizer: Any,
    tasks: Sequence[str] = tuple(TASKS),
    lengths: Sequence[int] = (1024, 2048, 4096),
    depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    languages: Sequence[str] = ("en", "ko", "es"),
    per_cell: int = 1,
    seed: int = 0,
    text: str | None = None,
    num_needles: int = 4,
) -> Benchmark:
    """Questions for every task, length, depth and language; results by task, length and depth.

    The arguments, and what is wrong with them, are those of `make_rows`.
    """
    rows = make_rows(
        tokenizer,
        tasks=tasks,
        lengths=lengths,
        depths=depths,
        languages=languages,
        per_cell=per_cell,
        seed=seed,
        text=text,
        num_needles=num_needles,
    )
    files = text_files(text) if text else ()
    return Benchmark(
        rows, [RewardSpec(use="posttrain.haystack:values_found")], files, cells=("task", "length", "depth")
    )
