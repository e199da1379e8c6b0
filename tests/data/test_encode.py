from typing import Any

import pytest

from posttrain.chat import MODES, render_for_training
from posttrain.data.encode import IGNORED, Encoded, encode_rows
from posttrain.errors import UserError

QUESTION = {"role": "user", "content": "4+7?"}
DIRECT = {"mode": "non_reasoning", "messages": [QUESTION, {"role": "assistant", "content": "11"}]}
THOUGHT = {
    "mode": "reasoning",
    "messages": [QUESTION, {"role": "assistant", "content": "11", "reasoning_content": "4+7=11"}],
}


def encode(tokenizer: Any, *rows: dict[str, Any], max_length: int | None = None) -> list[Encoded]:
    return encode_rows(rows, tokenizer, source="s", max_length=max_length)


def refusal(tokenizer: Any, *rows: dict[str, Any], max_length: int | None = None) -> str:
    with pytest.raises(UserError) as caught:
        encode(tokenizer, *rows, max_length=max_length)
    return str(caught.value)


def test_labels_are_the_tokens_themselves_where_the_model_speaks_and_ignored_elsewhere(tokenizer: Any) -> None:
    for row, mode in ((DIRECT, "non_reasoning"), (THOUGHT, "reasoning")):
        (encoded,) = encode(tokenizer, row)
        ids, trained = render_for_training(tokenizer, row["messages"])
        assert encoded.input_ids == ids
        assert [label != IGNORED for label in encoded.labels] == trained
        assert all(label in (token, -100) for token, label in zip(ids, encoded.labels, strict=True))
        assert MODES[encoded.mode_id] == mode


def test_trained_tokens_of_a_direct_answer_are_its_digits_and_the_end(tokenizer: Any) -> None:
    (encoded,) = encode(tokenizer, DIRECT)
    assert encoded.trained_tokens == 3  # 1, 1, end of turn
    assert [label for label in encoded.labels if label != IGNORED] == encoded.input_ids[-4:-1]


def test_row_of_just_the_allowed_length_passes_and_one_token_more_is_refused_uncut(tokenizer: Any) -> None:
    (whole,) = encode(tokenizer, THOUGHT)
    length = len(whole.input_ids)
    assert encode(tokenizer, THOUGHT, max_length=length) == [whole]
    message = refusal(tokenizer, DIRECT, THOUGHT, max_length=length - 1)
    assert message.startswith(f"s, row 2: {length} tokens, data.max_length is {length - 1}; ")


def test_tools_of_the_row_are_part_of_the_prompt(tokenizer: Any) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    (plain,), (with_tools,) = encode(tokenizer, DIRECT), encode(tokenizer, {**DIRECT, "tools": tools})
    assert len(with_tools.input_ids) > len(plain.input_ids)
    assert with_tools.trained_tokens == plain.trained_tokens
    assert encode(tokenizer, {**DIRECT, "tools": None}) == [plain]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"mode": "non_reasoning", "messages": [QUESTION]}, "the last message is from 'user'"),
        ({**DIRECT, "mode": "reasoning"}, "mode is 'reasoning', but the response to the last user message has no"),
        (
            {**THOUGHT, "mode": "non_reasoning"},
            "mode is 'non_reasoning', but the response to the last user message has",
        ),
        (
            {"mode": "reasoning", "messages": [*THOUGHT["messages"], *DIRECT["messages"]]},
            "mode is 'reasoning', but the response to the last user message has no",
        ),
        (
            {"mode": "non_reasoning", "messages": [{"role": "critic", "content": "x"}, *DIRECT["messages"]]},
            "unknown role 'critic'",
        ),
    ],
)
def test_row_that_cannot_be_trained_is_named(tokenizer: Any, row: dict[str, Any], problem: str) -> None:
    message = refusal(tokenizer, DIRECT, row)
    assert message.startswith("s, row 2: ")
    assert problem in message


def test_thinking_anywhere_in_the_last_response_makes_it_reasoning(tokenizer: Any) -> None:
    calling = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "t",
        "tool_calls": [{"name": "f", "arguments": {}}],
    }
    messages = [QUESTION, calling, {"role": "tool", "content": "11"}, {"role": "assistant", "content": "11"}]
    assert encode(tokenizer, {"mode": "reasoning", "messages": messages})[0].trained_tokens > 0
