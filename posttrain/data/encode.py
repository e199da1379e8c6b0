"""SFT rows to token ids, with a loss on exactly what the model must emit."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from posttrain.chat import MODES, render_for_training
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
        UserError: a row is longer than `max_length` tokens, or has nothing to train on; names source and row.
    """
    encoded = []
    for number, row in enumerate(rows, start=1):
        last = row["messages"][-1]["role"]
        if last != "assistant":
            raise UserError(f"{source}, row {number}: the last message is from '{last}'; SFT needs an assistant's")
        rendered = render_for_training(tokenizer, row["messages"], row.get("tools"))
        if max_length is not None and len(rendered.input_ids) > max_length:
            raise UserError(
                f"{source}, row {number}: {len(rendered.input_ids)} tokens, data.max_length is {max_length}; "
                "cutting would lose the answer, so raise data.max_length or leave the row out"
            )
        labels = [
            token if is_trained else IGNORED
            for token, is_trained in zip(rendered.input_ids, rendered.trained, strict=True)
        ]
        encoded.append(Encoded(rendered.input_ids, labels, MODES.index(row["mode"])))
    return encoded
