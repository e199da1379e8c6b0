"""MATH-500 (Lightman et al. 2023, arXiv 2305.20050): 500 competition problems, from the hub."""

from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import benchmark, boxed, pinned, read, user

DATA_SET = "HuggingFaceH4/MATH-500"
REVISION = "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"  # as in Marin's task recipes and nine more public repositories


def math_500(*, revision: str = REVISION, limit: int | None = None) -> Benchmark:
    """Columns `problem`, `answer`, `subject` and `level`; results by level, too.

    Args:
        revision: another commit, 40 hexadecimal digits.
        limit: only so many rows.
    """
    source = pinned(DATA_SET, revision, None, "test")
    rows = [
        {
            "messages": user(boxed(place.text("problem"))),
            "answer": place.text("answer"),
            "subject": place.text("subject"),
            "level": place.text("level"),
        }
        for place in read(source, limit)
    ]
    return benchmark(rows, source, "rewards.math_answer:math_answer", cells=("level",))
