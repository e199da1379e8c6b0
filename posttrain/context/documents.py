"""Long documents to train on: made from a seed, kept in the cache, so that the plan and the run share the work."""

import hashlib
import json
import random
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

from posttrain.context import haystacks
from posttrain.data.cache import cache_folder, key_of_tokenizer
from posttrain.data.encode import encode_row
from posttrain.data.rows import Row
from posttrain.evals.benchmarks import needle
from posttrain.recipe import DocumentsSection
from posttrain.runs import append_json_lines, written_aside

NUM_LENGTHS = 8  # evenly from the shortest to the longest
DEPTHS = tuple(step / 10 for step in range(11))


def documents_file(tokenizer: Any, section: DocumentsSection, *, length: int, num_tokens: float, seed: int) -> Path:
    """A file of rows of at most `length` tokens, at least `num_tokens` in all, the last one included.

    Raises:
        UserError: as in `haystacks.make_rows`.
    """
    follows_from = [
        {"section": repr(section), "length": length, "num_tokens": num_tokens, "seed": seed},
        key_of_tokenizer(tokenizer),
        *(Path(module.__file__ or "").read_text(encoding="utf-8") for module in (haystacks, needle)),
        Path(__file__).read_text(encoding="utf-8"),
    ]
    key = hashlib.sha256(json.dumps(follows_from).encode()).hexdigest()
    path = cache_folder() / "documents" / f"{key}.jsonl"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            append_json_lines(aside, _documents(tokenizer, section, length, num_tokens, seed))
    return path


def _documents(tokenizer: Any, section: DocumentsSection, length: int, num_tokens: float, seed: int) -> Iterator[Row]:
    """Blocks of every length, depth, language and task once, each in an order of its own."""
    overhead = _overhead(tokenizer, section, length)
    longest = length - overhead
    shortest = min(longest, max(1, round(section.shortest * length) - overhead))
    steps = range(NUM_LENGTHS)
    lengths = sorted({shortest + round(step * (longest - shortest) / (NUM_LENGTHS - 1)) for step in steps})
    left = num_tokens
    for block in count():
        rows = list(product(section.tasks, lengths, DEPTHS, section.languages))
        order = random.Random(f"documents {seed} {block}")
        order.shuffle(rows)
        for task, message_length, depth, language in rows:
            (row,) = haystacks.make_rows(
                tokenizer,
                tasks=[task],
                lengths=[message_length],
                depths=[depth],
                languages=[language],
                per_cell=1,
                seed=order.randrange(2**32),
            )
            yield answered(row)
            left -= message_length + overhead
            if left <= 0:
                return


def answered(row: Row) -> Row:
    """The row as a model is to answer it, without thinking."""
    reply = {"role": "assistant", "content": row.get("reply") or row["answer"]}
    return {**row, "messages": [*row["messages"], reply], "mode": "non_reasoning"}


def _overhead(tokenizer: Any, section: DocumentsSection, length: int) -> int:
    """The tokens of a row beside those of its message: the template's and the answer's."""
    rows = haystacks.make_rows(
        tokenizer,
        tasks=section.tasks,
        lengths=[length],
        depths=[0.5],
        languages=section.languages,
        per_cell=4,
        seed=0,
    )
    return max(len(encode_row(answered(row), tokenizer).input_ids) - length for row in rows)
