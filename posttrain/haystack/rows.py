"""Questions for an evaluation: every task, length, depth and language."""

from collections.abc import Sequence
from typing import Any

from posttrain.chat import encode_prompt
from posttrain.data.rows import Row
from posttrain.haystack.writer import Cell, Writer, Written

LANGUAGES_ASKED = ("en", "ko", "es")


def make_rows(
    tokenizer: Any,
    *,
    tasks: Sequence[str] = ("needle",),
    lengths: Sequence[int],
    depths: Sequence[float],
    languages: Sequence[str] = LANGUAGES_ASKED,
    per_cell: int = 1,
    seed: int = 0,
    text: str | None = None,
    num_needles: int = 4,
) -> list[Row]:
    """Rows to be asked, `per_cell` for each task, length, depth and language.

    Args:
        tokenizer: the model's.
        tasks: of `TASKS`.
        lengths: of the message in tokens, without the template's tags.
        depths: of what is asked for, 0 to 1.
        languages: of en, ko and es.
        per_cell: rows of each.
        seed: same seed, same rows.
        text: a file, folder or glob whose text takes the place of generated sentences (not in common_words and qa).
        num_needles: in a text, where a task has several; see `posttrain.haystack.tasks`.

    Returns:
        `messages` (the user's), `answer` (a text, or a list where several values are asked for), `reply` (what an
        assistant that is right says), `language`, `domain`, `task`, `length` and `depth`.

    Raises:
        ValueError: a task, language or depth that there is none of, or fewer than two needles.
        UserError: a length that the question alone exceeds, or that cannot be met exactly; a text that cannot be read.
    """
    if not all(0 <= depth <= 1 for depth in depths):
        raise ValueError(f"got depths {list(depths)}; need 0 to 1")
    writer = Writer(
        tokenizer,
        tasks=tasks,
        languages=languages,
        split="evaluation",
        seed=seed,
        text=text,
        num_needles=num_needles,
    )
    cells = [
        Cell(task, language, length, depth)
        for task in tasks
        for length in lengths
        for depth in depths
        for language in languages
    ]

    def count(messages: Sequence[Row]) -> int:
        return len(encode_prompt(tokenizer, messages[0]["content"]))

    return [
        to_row(cell, writer.write(cell, number, count), with_reply=False)
        for cell in cells
        for number in range(per_cell)
    ]


def to_row(cell: Cell, written: Written, *, with_reply: bool) -> Row:
    """A conversation with its last reply or without, and the columns that go with its last question."""
    last = written.questions[-1]
    return {
        "messages": written.messages if with_reply else written.messages[:-1],
        "answer": last.answer,
        "reply": last.reply,
        "language": cell.language,
        "domain": "long_context",
        "task": cell.task,
        "length": cell.length,
        "depth": cell.depth,
    }
