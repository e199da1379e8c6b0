"""Multiple choice from a user's files: a question, its options, and which of them is right."""

from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import benchmark, read, user, with_options
from posttrain.recipe import Source


def multiple_choice(
    *, path: str, config: str | None = None, split: str | None = None, limit: int | None = None
) -> Benchmark:
    """Rows with a `question` (or the whole of it as `messages`), its `options`, and a letter or a text as `answer`.

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
            "messages": place.row.get("messages")
            or user(with_options(place.text("question"), place.texts("options"), place.row.get("language"))),
            "answer": place.text("answer"),
        }
        for place in read(source, limit)
    ]
    return benchmark(rows, source, "rewards.multiple_choice:multiple_choice")
