"""From token ids to what a reward sees."""

from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.chat import Mode, count_thinking_tokens, parse_completion
from rewards.contract import Attempt


def read_attempt(
    tokenizer: Any,
    row: Mapping[str, Any],
    completion_ids: Sequence[int],
    *,
    mode: Mode,
    is_truncated: bool,
    closed_at: int | None = None,
) -> Attempt:
    """The attempt that `completion_ids` (with its end-of-turn token, unless truncated) makes at `row`.

    The text is decoded with the tags kept, also where a tokenizer calls them special tokens. `closed_at`: the number of
    tokens after which a budget closed the thinking; the tokens that were forced are none of the model's thinking.
    """
    ids = list(completion_ids)
    stops = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    words = ids
    while words and words[-1] in stops:
        words = words[:-1]
    parsed = parse_completion(tokenizer.decode(words, skip_special_tokens=False), mode)
    return Attempt(
        prompt=[dict(message) for message in row["messages"]],
        answer=parsed.answer,
        thinking=parsed.thinking,
        mode=mode,
        is_truncated=is_truncated,
        num_tokens=len(ids),
        num_thinking_tokens=count_thinking_tokens(tokenizer, words, parsed) if closed_at is None else closed_at,
        row={key: value for key, value in row.items() if key != "messages"},
    )


def empty_attempt(row: Mapping[str, Any], *, mode: Mode) -> Attempt:
    """The attempt that says nothing: wrong wherever the row says what is right, so it shows which rows do not."""
    return Attempt(
        prompt=[dict(message) for message in row["messages"]],
        answer="",
        thinking=None,
        mode=mode,
        is_truncated=False,
        num_tokens=0,
        num_thinking_tokens=0,
        row={key: value for key, value in row.items() if key != "messages"},
    )
