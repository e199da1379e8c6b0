"""A conversation as it is trained on: token ids, and which of them the model itself must emit."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from posttrain.chat.modes import Mode
from posttrain.chat.template import Message, refusals
from posttrain.chat.turns import ContractError, Span, match_turns


class Marked(NamedTuple):
    """One conversation as text, with the parts that the model itself must emit."""

    text: str
    spans: list[Span]


class Rendered(NamedTuple):
    """One conversation as token ids, with the tokens that the model itself must emit marked."""

    input_ids: list[int]
    trained: list[bool]


def render_for_training(
    tokenizer: Any, messages: Sequence[Message], mode: Mode, tools: Sequence[Mapping[str, Any]] | None = None
) -> Rendered:
    """Token ids of a whole conversation and the mask of the tokens that bear loss.

    Raises:
        UserError: the template refuses the conversation.
        ContractError: it marks nothing as the model's own words, or something else than these, or changes the
            conversation; names the turn.
    """
    marked = mark(tokenizer, messages, mode, tools)
    match_turns(tokenizer, *marked, messages, mode, tools)
    return encode_marked(tokenizer, marked)


def mark(
    tokenizer: Any, messages: Sequence[Message], mode: Mode, tools: Sequence[Mapping[str, Any]] | None = None
) -> Marked:
    """The conversation as the template renders it, and where it says `{% generation %}`.

    White space that a template marks behind the end of a turn is left out: nobody samples past the end-of-turn token.

    Raises:
        UserError: the template refuses the conversation.
        ContractError: it marks nothing.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    with refusals():
        (text,), (spans,) = render_jinja_template(
            conversations=[[dict(message) for message in messages]],
            tools=list(tools) if tools else None,
            chat_template=tokenizer.get_chat_template(),
            return_assistant_tokens_mask=True,
            enable_thinking=mode == "reasoning",
            **tokenizer.special_tokens_map,
        )
    joined: list[Span] = []
    for start, end in (_without_trailing_space(text, span, tokenizer.eos_token) for span in spans):
        if joined and joined[-1][1] == start:  # a turn may be marked in pieces
            joined[-1] = (joined[-1][0], end)
        elif start < end:
            joined.append((start, end))
    if not joined:
        raise ContractError(
            "the chat template marks no token as the model's own; it needs {% generation %} around what the "
            "assistant says; add it, or take a built-in template as model.chat_template (docs/sft.md, Templates)"
        )
    return Marked(text, joined)


def encode_marked(tokenizer: Any, marked: Marked) -> Rendered:
    """What the model says is encoded apart from what the template says, because at inference the prompt is.

    Encoded in one go, a tokenizer may join the newline at the end of the prompt to what follows, or read two newlines
    as two tokens before a word and as one at the end of a text.
    """
    text, spans = marked
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]  # in turn the template's and the model's
    ids = tokenizer(pieces, add_special_tokens=False)["input_ids"]
    trained = [number % 2 == 1 for number, piece in enumerate(ids) for _ in piece]
    return Rendered([token for piece in ids for token in piece], trained)


def _without_trailing_space(text: str, span: Span, eos_token: str | None) -> Span:
    start, end = span
    words = text[start:end].rstrip()
    return (start, start + len(words)) if eos_token and words.endswith(eos_token) else span
