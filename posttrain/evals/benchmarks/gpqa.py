"""GPQA (Rein et al. 2023, arXiv 2311.12022): graduate-level science in multiple choice, from the hub."""

import random
import string

from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import benchmark, pinned, read, user, with_options

DATA_SET = "Idavidrein/gpqa"
REVISION = "633f5ee89ab8ad4522a9f850766b73f62147ffdd"  # as in ten public repositories
RIGHT = "Correct Answer"
WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def gpqa(
    *, revision: str = REVISION, subset: str = "gpqa_diamond", seed: int = 0, limit: int | None = None
) -> Benchmark:
    """Columns `Question`, `Correct Answer` and three `Incorrect Answer`s, whose order is drawn for each question.

    The data set is gated: its page has to be agreed to, and `hf auth login` to be run, before it can be downloaded.

    Args:
        revision: another commit, 40 hexadecimal digits.
        subset: gpqa_diamond, gpqa_main or gpqa_extended.
        seed: of the order of the options.
        limit: only so many rows.
    """
    source = pinned(DATA_SET, revision, subset, "train")
    rows = []
    for place in read(source, limit):
        question, right = place.text("Question"), place.text(RIGHT).strip()
        options = [right, *(place.text(column).strip() for column in WRONG)]
        random.Random(f"{seed} {question}").shuffle(options)
        rows.append(
            {
                "messages": user(with_options(question, options)),
                "options": options,
                "answer": string.ascii_uppercase[options.index(right)],
            }
        )
    return benchmark(rows, source, "rewards.multiple_choice:multiple_choice")
