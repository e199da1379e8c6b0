"""AIME: the problems of one year's two papers, each answered by a whole number from 0 to 999, from the hub."""

from posttrain.errors import UserError
from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import benchmark, boxed, pinned, read, user

DATA_SETS = {  # year -> name, split, and the commit that nine and ten public repositories pin, Marin's for 2024
    2024: ("HuggingFaceH4/aime_2024", "train", "2fe88a2f1091d5048c0f36abc874fb997b3dd99a"),
    2025: ("math-ai/aime25", "test", "563bb8404243c5f09de6ec262f2db674fe5bce9b"),
}


def aime(*, year: int, revision: str | None = None, limit: int | None = None) -> Benchmark:
    """Columns `problem` and `answer`.

    Args:
        year: 2024 or 2025.
        revision: another commit of that year's data set, 40 hexadecimal digits.
        limit: only so many rows.
    """
    if year not in DATA_SETS:
        raise UserError(
            f"got the year {year}, need one of {', '.join(map(str, DATA_SETS))}; problems of other years can be read "
            "with `use: math_problems`"
        )
    name, split, known = DATA_SETS[year]
    source = pinned(name, revision or known, None, split)
    rows = [
        {"messages": user(boxed(place.text("problem"))), "answer": place.text("answer")}
        for place in read(source, limit)
    ]
    return benchmark(rows, source, "rewards.math_answer:math_answer")
