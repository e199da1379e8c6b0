"""Split a completion into thinking and answer, knowing that the template wrote the opening tag."""

from typing import NamedTuple

from posttrain.chat.modes import Mode

OPEN = "<think>"
CLOSE = "</think>"


class Parsed(NamedTuple):
    """What a completion says.

    `thinking` is None when the completion holds none; an unclosed thinking is kept as thinking with an empty answer.
    """

    thinking: str | None
    answer: str
    is_closed: bool


def parse_completion(text: str, mode: Mode) -> Parsed:
    """Split `text` (a completion without its end-of-turn token).

    In reasoning mode the template opened the block, so everything up to the first closing tag is thinking. In
    non-reasoning mode the block was opened and closed by the template: all of it is answer, and a block that the model
    opens itself is split off as thinking, so that it can be counted as a breach of the mode.
    """
    if mode == "reasoning":
        thinking, tag, answer = text.partition(CLOSE)
        if not tag:
            return Parsed(text.strip(), "", is_closed=False)
        return Parsed(thinking.removeprefix(OPEN).strip(), answer.strip(), is_closed=True)
    stripped = text.lstrip()
    if stripped.startswith(OPEN):
        thinking, tag, answer = stripped.removeprefix(OPEN).partition(CLOSE)
        return Parsed(thinking.strip(), answer.strip() if tag else "", is_closed=bool(tag))
    thinking, tag, answer = text.partition(CLOSE)
    if tag:  # a closing tag of a block that was already closed: what stands before it was meant as thinking
        return Parsed(thinking.strip(), answer.strip(), is_closed=True)
    return Parsed(None, text.strip(), is_closed=True)


def count_thinking_tokens(completion_ids: list[int], close_id: int | None, mode: Mode) -> int:
    """Tokens before the closing tag: all of them when reasoning never closes, none in a clean direct answer."""
    if close_id is not None and close_id in completion_ids:
        return completion_ids.index(close_id)
    return len(completion_ids) if mode == "reasoning" else 0
