"""Instructions that a program can check, from a user's files in the shape of IFEval (arXiv 2311.07911)."""

from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import benchmark, read, user
from posttrain.recipe import Source


def instructions(
    *, path: str, config: str | None = None, split: str | None = None, limit: int | None = None
) -> Benchmark:
    """Rows with a `prompt` (or `messages`), and with `instruction_id_list` and `kwargs`.

    Args:
        path: as under `data.sources`: a file, a folder, a glob, or a pinned data set of the hub.
        config: of the hub data set.
        split: of the hub data set, null for train.
        limit: only so many rows.
    """
    source = Source(path=path, config=config, split=split)
    rows = [
        {**place.row, "messages": place.row.get("messages") or user(place.text("prompt"))}
        for place in read(source, limit)
    ]
    return benchmark(rows, source, "rewards.instruction_rules:instruction_rules")
