from copy import copy
from typing import Any

import pytest

from posttrain.chat import MODES, render_for_training
from posttrain.data.encode import IGNORED, Encoded, encode_row
from posttrain.data.unusable import RowError

QUESTION = {"role": "user", "content": "4+7?"}
REPLY = {"role": "assistant", "content": "11"}
DIRECT = {"mode": "non_reasoning", "messages": [QUESTION, REPLY]}
THOUGHT = {
    "mode": "reasoning",
    "messages": [QUESTION, {"role": "assistant", "content": "11", "reasoning_content": "4+7=11"}],
}


def encode(tokenizer: Any, row: dict[str, Any]) -> Encoded:
    return encode_row(row, tokenizer)


def refusal(tokenizer: Any, row: dict[str, Any]) -> RowError:
    with pytest.raises(RowError) as caught:
        encode(tokenizer, row)
    return caught.value


def test_labels_are_the_tokens_themselves_where_the_model_speaks_and_ignored_elsewhere(tokenizer: Any) -> None:
    for row, mode in ((DIRECT, "non_reasoning"), (THOUGHT, "reasoning")):
        encoded = encode(tokenizer, row)
        ids, trained = render_for_training(tokenizer, row["messages"], row["mode"])
        assert encoded.input_ids == ids
        assert [label != IGNORED for label in encoded.labels] == trained
        assert all(label in (token, -100) for token, label in zip(ids, encoded.labels, strict=True))
        assert MODES[encoded.mode_id] == mode


def test_trained_tokens_of_a_direct_answer_are_its_digits_and_the_end(tokenizer: Any) -> None:
    encoded = encode(tokenizer, DIRECT)
    assert encoded.trained_tokens == 3  # 1, 1, end of turn
    assert [label for label in encoded.labels if label != IGNORED] == encoded.input_ids[-4:-1]


def test_tools_of_the_row_are_part_of_the_prompt(tokenizer: Any) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    plain, with_tools = encode(tokenizer, DIRECT), encode(tokenizer, {**DIRECT, "tools": tools})
    assert len(with_tools.input_ids) > len(plain.input_ids)
    assert with_tools.trained_tokens == plain.trained_tokens
    assert encode(tokenizer, {**DIRECT, "tools": None}) == plain


@pytest.mark.parametrize("key", ["content", "reasoning_content"])
def test_name_of_the_end_of_turn_token_in_what_the_model_says_is_refused(tokenizer: Any, key: str) -> None:
    said = {**THOUGHT["messages"][1], key: f"eleven{tokenizer.eos_token} or so"}
    error = refusal(tokenizer, {**THOUGHT, "messages": [QUESTION, said]})
    assert error.reason == "end-of-turn token in the text"
    assert f"message 1 (assistant) has '{tokenizer.eos_token}' in its `{key}`" in str(error)


def test_empty_domain_is_none_and_a_list_is_refused(tokenizer: Any) -> None:
    assert encode(tokenizer, {**DIRECT, "domain": ""}).domain is None
    assert refusal(tokenizer, {**DIRECT, "domain": ["math"]}).reason == "broken domain"


def test_domain_of_the_row_goes_along(tokenizer: Any) -> None:
    assert encode(tokenizer, DIRECT).domain is None
    assert encode(tokenizer, {**DIRECT, "domain": "math"}).domain == "math"


@pytest.mark.parametrize(
    ("row", "reason", "message"),
    [
        ({"mode": "non_reasoning", "messages": [QUESTION]}, "no assistant turn", "no assistant turn; SFT needs"),
        (
            {"mode": "non_reasoning", "messages": [*DIRECT["messages"], QUESTION]},
            "no assistant turn at the end",
            "the last message is from 'user'",
        ),
        (
            {**DIRECT, "mode": "reasoning"},
            "no thinking in a reasoning row",
            "mode is 'reasoning', but the response to the last user message has no `reasoning_content`",
        ),
        (
            {**THOUGHT, "mode": "non_reasoning"},
            "thinking in a non-reasoning row",
            "mode is 'non_reasoning', but the response to the last user message has `reasoning_content`",
        ),
        (
            {"mode": "reasoning", "messages": [*THOUGHT["messages"], *DIRECT["messages"]]},
            "no thinking in a reasoning row",
            "mode is 'reasoning', but the response to the last user message has no",
        ),
        (
            {"mode": "non_reasoning", "messages": [{"role": "critic", "content": "x"}, *DIRECT["messages"]]},
            "unknown role",
            "unknown role 'critic'; need one of system, user, assistant, tool",
        ),
        (
            {"mode": "non_reasoning", "messages": [{"role": "", "content": "x"}, *DIRECT["messages"]]},
            "unknown role",
            "unknown role ''",
        ),
        (
            {"mode": "non_reasoning", "messages": [*DIRECT["messages"], {"role": "system", "content": "x"}, REPLY]},
            "refused by the chat template",
            "a system message must be the first message",
        ),
        (
            {"mode": "reasoning", "messages": [QUESTION, {**REPLY, "content": " ", "reasoning_content": "t"}]},
            "empty answer",
            "the last message says nothing",
        ),
        (
            {"mode": "non_reasoning", "messages": [QUESTION, {**REPLY, "tool_calls": [{"name": "f"}]}]},
            "broken tool call",
            "the arguments of 'f' are None",
        ),
        (
            {**DIRECT, "tools": [{"name": "f"}, {}]},
            "broken tools",
            "a tool in `tools` has no name",
        ),
    ],
)
def test_row_that_cannot_be_trained_is_refused_with_its_reason(
    tokenizer: Any, row: dict[str, Any], reason: str, message: str
) -> None:
    problem = refusal(tokenizer, row)
    assert problem.reason == reason
    assert message in str(problem)


def test_template_that_marks_nothing_to_train_is_told_with_the_row(tokenizer: Any) -> None:
    mute = copy(tokenizer)
    mute.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    assert "marks no token as the model's own" in str(refusal(mute, DIRECT))


def test_thinking_anywhere_in_the_last_response_makes_it_reasoning(tokenizer: Any) -> None:
    calling = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "t",
        "tool_calls": [{"name": "f", "arguments": {}}],
    }
    messages = [QUESTION, calling, {"role": "tool", "content": "11"}, {"role": "assistant", "content": "11"}]
    assert encode(tokenizer, {"mode": "reasoning", "messages": messages}).trained_tokens > 0
