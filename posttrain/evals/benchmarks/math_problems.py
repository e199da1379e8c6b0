"""Mathematics from a user's files: a question and its answer."""

from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import benchmark, boxed, read, user
from posttrain.recipe import Source


def math_problems(
    *, path: str, config: str | None = None, split: str | None = None, limit: int | None = None
) -> Benchmark:
    """Rows with a `question` (or the whole of it as `messages`) and its `answer`, as `rewards.math_answer` reads it.

    Args:
        path: as under `data.sources`: a file, a folder, a glob, or a pinned data set of the hub.
        config: of the hub data set.
        split: of the hub data set, null for train.
        limit: only so many rows.
    """
    source = Source(path=path, config=config, split=split)
    rows = [
        {
            **place.row,
            "messages": place.row.get("messages") or user(boxed(place.text("question"), place.row.get("language"))),
            "answer": place.text("answer"),
        }
        for place in read(source, limit)
    ]
    return benchmark(rows, source, "rewards.math_answer:math_answer")
