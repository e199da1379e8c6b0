"""MMLU-Pro (Wang et al. 2024, arXiv 2406.01574): knowledge in multiple choice with up to ten options, from the hub."""

from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import benchmark, pinned, read, user, with_options

DATA_SET = "TIGER-Lab/MMLU-Pro"
REVISION = "b189ec765aa7ed75c8acfea42df31fdae71f97be"  # as in ten public repositories


def mmlu_pro(*, revision: str = REVISION, limit: int | None = None) -> Benchmark:
    """Columns `question`, `options`, `answer` (a letter) and `category`; results by category, too.

    Args:
        revision: another commit, 40 hexadecimal digits.
        limit: only so many rows.
    """
    source = pinned(DATA_SET, revision, None, "test")
    rows = []
    for place in read(source, limit):
        options = place.texts("options")
        rows.append(
            {
                "messages": user(with_options(place.text("question"), options)),
                "options": options,
                "answer": place.text("answer"),
                "category": place.text("category"),
            }
        )
    return benchmark(rows, source, "rewards.multiple_choice:multiple_choice", cells=("category",))
