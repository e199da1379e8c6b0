"""SFT rows to token ids, with a loss on exactly what the model must emit."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from posttrain.chat import MODES, render_for_training, require_joinable
from posttrain.data.rows import Row
from posttrain.errors import UserError

IGNORED = -100  # the label of a token that bears no loss


class Encoded(NamedTuple):
    """One row, ready to train on."""

    input_ids: list[int]
    labels: list[int]
    mode_id: int  # index into MODES

    @property
    def trained_tokens(self) -> int:
        """Tokens that bear loss."""
        return sum(label != IGNORED for label in self.labels)


def encode_rows(rows: Sequence[Row], tokenizer: Any, *, source: str, max_length: int | None) -> list[Encoded]:
    """Encode rows of one source; a row is never cut.

    Raises:
        UserError: a row is longer than `max_length` tokens, has nothing to train on, or its response is not in the
            row's mode; names source and row. Or the tokenizer will not do.
    """
    require_joinable(tokenizer)
    encoded = []
    for number, row in enumerate(rows, start=1):
        try:
            encoded.append(_encode(row, tokenizer, max_length))
        except UserError as error:
            raise UserError(f"{source}, row {number}: {error}") from error
    return encoded


def _encode(row: Row, tokenizer: Any, max_length: int | None) -> Encoded:
    messages, mode = row["messages"], row["mode"]
    if messages[-1]["role"] != "assistant":
        raise UserError(f"the last message is from '{messages[-1]['role']}'; SFT needs an assistant's")
    response = takewhile(lambda message: message["role"] != "user", reversed(messages))
    has_thinking = any(message.get("reasoning_content") for message in response)
    if has_thinking != (mode == "reasoning"):  # its tokens would count, and be trained, as the other mode's
        found = "has" if has_thinking else "has no"
        raise UserError(f"mode is '{mode}', but the response to the last user message {found} `reasoning_content`")
    rendered = render_for_training(tokenizer, messages, row.get("tools"))
    if max_length is not None and len(rendered.input_ids) > max_length:
        raise UserError(
            f"{len(rendered.input_ids)} tokens, data.max_length is {max_length}; "
            "cutting would lose the answer, so raise data.max_length or leave the row out"
        )
    labels = [
        token if is_trained else IGNORED for token, is_trained in zip(rendered.input_ids, rendered.trained, strict=True)
    ]
    return Encoded(rendered.input_ids, labels, MODES.index(mode))
