"""Documents to train on, whose lengths and depths are varied systematically."""

import random
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, TypeVar

from posttrain.chat import render_for_training
from posttrain.data.rows import Row
from posttrain.haystack.rows import LANGUAGES_ASKED, to_row
from posttrain.haystack.writer import Cell, Count, Writer

T = TypeVar("T")

NUM_LENGTHS = 8  # parts of the range of lengths; the longest of a part is the same multiple of its shortest in all
NUM_DEPTHS = 10


def make_documents(
    tokenizer: Any,
    *,
    tasks: Sequence[str] = ("needle",),
    lengths: tuple[int, int],
    languages: Sequence[str] = LANGUAGES_ASKED,
    count: int | None = None,
    num_tokens: int | None = None,
    seed: int = 0,
    text: str | None = None,
    num_needles: int = 4,
    questions: int = 1,
    start: int = 0,
) -> Iterator[Row]:
    """Conversations in non-reasoning mode, made one at a time; none asks for what an evaluation asks for.

    The range of lengths is cut into 8 parts (in equal ratios) and the depths into 10. Of each 108 documents one has a
    length from each part, or the longest itself, with a depth from each part, or 0, or 1; the place within a part is
    random. Tasks and languages take turns.

    Args:
        tokenizer: the model's, with its chat template.
        tasks: of `TASKS`.
        lengths: the shortest and the longest document in tokens, as it is trained: tags and replies included.
        languages: of en, ko and es.
        count: of documents; None: without end.
        num_tokens: ends with the document that reaches it, all documents together; None: without end.
        seed: same seed, same documents.
        text: as in `make_rows`.
        num_needles: as in `make_rows`.
        questions: asked about each text one after the other, each reply trained; of common_words one.
        start: leaves out so many documents, without writing them, so that an interrupted stream goes on.

    Yields:
        A row as of `make_rows`, its `messages` with the replies and its `mode`; `answer` and `reply` are the last
        question's, `depth` the first one's.

    Raises:
        ValueError: as in `make_rows`, or lengths that are no range, or less than one question.
        UserError: as in `make_rows`, or a tokenizer without a template that can be trained on.
    """
    if not 0 < lengths[0] <= lengths[1] or questions < 1:
        raise ValueError(
            f"got lengths {lengths}, {questions} questions; need the shortest and the longest, and 1 or more"
        )
    writer = Writer(
        tokenizer, tasks=tasks, languages=languages, split="training", seed=seed, text=text, num_needles=num_needles
    )

    def tokens_of(messages: Sequence[Row]) -> int:
        return len(render_for_training(tokenizer, messages, "non_reasoning").input_ids)

    for task, language in product(tasks, languages):  # what has no room is said now rather than hours later
        writer.write(Cell(task, language, lengths[0], depth=0.5), 0, tokens_of, questions=questions)
    return _documents(writer, _cells(tasks, lengths, languages, seed), tokens_of, count, num_tokens, questions, start)


def _documents(
    writer: Writer,
    cells: Iterator[Cell],
    tokens_of: Count,
    count: int | None,
    num_tokens: int | None,
    questions: int,
    start: int,
) -> Iterator[Row]:
    written = 0
    for number, cell in enumerate(cells):
        if (count is not None and number >= count) or (num_tokens is not None and written >= num_tokens):
            return
        written += cell.length
        if number >= start:
            document = writer.write(cell, number, tokens_of, questions=questions)
            yield {**to_row(cell, document, with_reply=True), "mode": "non_reasoning"}


def _cells(tasks: Sequence[str], lengths: tuple[int, int], languages: Sequence[str], seed: int) -> Iterator[Cell]:
    rng = random.Random(f"cells {seed}")
    shortest, ratio = lengths[0], lengths[1] / lengths[0]
    places = _dealt([*product(range(NUM_LENGTHS + 1), range(-1, NUM_DEPTHS + 1))], rng)
    kinds = _dealt([*product(tasks, languages)], rng)
    for (length_part, depth_part), (task, language) in zip(places, kinds, strict=False):
        length = shortest * ratio ** _place_in(length_part, NUM_LENGTHS, rng)
        yield Cell(task, language, round(length), _place_in(depth_part, NUM_DEPTHS, rng))


def _place_in(part: int, num_parts: int, rng: random.Random) -> float:
    """A place from 0 to 1 in that part; the parts before the first and behind the last are the two ends themselves."""
    return min(max((part + rng.random()) / num_parts, 0.0), 1.0)


def _dealt(cards: Sequence[T], rng: random.Random) -> Iterator[T]:
    """All cards in a random order, again and again."""
    while True:
        yield from rng.sample(cards, len(cards))
