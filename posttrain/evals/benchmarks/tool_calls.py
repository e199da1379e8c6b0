"""Tool use from a user's files: a question, the tools, and the calls that are expected."""

from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import benchmark, read, user
from posttrain.recipe import Source


def tool_calls(
    *, path: str, config: str | None = None, split: str | None = None, limit: int | None = None
) -> Benchmark:
    """Rows with a `question` (or `messages`), `tools` and `tool_calls`, as `rewards.tool_calls` reads them.

    Args:
        path: as under `data.sources`: a file, a folder, a glob, or a pinned data set of the hub.
        config: of the hub data set.
        split: of the hub data set, null for train.
        limit: only so many rows.
    """
    source = Source(path=path, config=config, split=split)
    rows = [
        {**place.row, "messages": place.row.get("messages") or user(place.text("question"))}
        for place in read(source, limit)
    ]
    return benchmark(rows, source, "rewards.tool_calls:ToolCalls")
