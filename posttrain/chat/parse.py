"""Split a completion into thinking and answer, knowing that the template wrote the opening tag."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

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
        thinking, tag, answer = text.lstrip().removeprefix(OPEN).partition(CLOSE)
        return Parsed(thinking.strip(), answer.strip(), is_closed=bool(tag))
    stripped = text.lstrip()
    if stripped.startswith(OPEN):
        thinking, tag, answer = stripped.removeprefix(OPEN).partition(CLOSE)
        return Parsed(thinking.strip(), answer.strip(), is_closed=bool(tag))
    thinking, tag, answer = text.partition(CLOSE)
    if tag:  # a closing tag of a block that was already closed: what stands before it was meant as thinking
        return Parsed(thinking.strip(), answer.strip(), is_closed=True)
    return Parsed(None, text.strip(), is_closed=True)


def count_tokens_before_answer(tokenizer: Any, completion_ids: Sequence[int], mode: Mode) -> int:
    """Tokens up to the end of the closing tag: all of them when it never comes, none where there is no thinking."""
    parsed = parse_completion(tokenizer.decode(completion_ids, skip_special_tokens=False), mode)
    if parsed.thinking is None:
        return 0
    if not parsed.is_closed:
        return len(completion_ids)
    lengths = range(len(completion_ids))
    return bisect_left(lengths, True, key=lambda length: CLOSE in tokenizer.decode(completion_ids[:length]))


def count_thinking_tokens(tokenizer: Any, completion_ids: Sequence[int], parsed: Parsed) -> int:
    """Tokens before the closing tag: all of them when it never comes, none where there is no thinking.

    Where the vocabulary has no such token, the pieces of the tag count too.
    """
    if parsed.thinking is None:
        return 0
    if not parsed.is_closed:
        return len(completion_ids)
    close_id = tokenizer.convert_tokens_to_ids(CLOSE)
    if close_id not in (None, tokenizer.unk_token_id) and close_id in completion_ids:
        return list(completion_ids).index(close_id)
    lengths = range(len(completion_ids))
    return bisect_left(lengths, True, key=lambda length: CLOSE in tokenizer.decode(completion_ids[:length]))
