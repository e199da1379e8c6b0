"""Rows that a fit template changes all the same."""

from typing import Any

import pytest

from posttrain.chat import (
    ContractError,
    check_template,
    read_template,
    render_for_training,
)
from posttrain.data.encode import encode_row
from posttrain.data.unusable import RowError
from tests.chat.conftest import BOTH, QUESTION, REPLY, THOUGHT, Family, trained_text


@pytest.mark.parametrize(
    ("change", "messages", "problem"),
    [
        pytest.param(
            ("message.content ~", "message.content[:200] ~"),
            [{"role": "user", "content": "word " * 60}, REPLY],
            r"turn 1 \(message 0, user\): is not rendered where it belongs; needed 'word word",
            id="cuts what is long",
        ),
        pytest.param(
            (
                '{%- for message in messages -%}\n    {%- if message.role == "system"',
                '{%- for message in messages[-12:] -%}\n    {%- if message.role == "system"',
            ),
            [{"role": "user" if n % 2 == 0 else "assistant", "content": f"number {n}"} for n in range(14)],
            r"turn 1 \(message 0, user\): is not rendered where it belongs; needed 'number 0'",
            id="drops the first turn of many",
        ),
        pytest.param(
            (
                '"[|user|]\\n" ~ message.content',
                '"[|user|]\\n" ~ message.content ~ (" (asked again)" if '
                'messages[loop.index:] | selectattr("content", "eq", message.content) | list else "")',
            ),
            [QUESTION, REPLY, QUESTION, REPLY],
            r"turn \d \(message \d, assistant\): what is trained must follow .* rendered '.*\(asked again\)",
            id="changes a turn because of a later one",
        ),
        pytest.param(
            ('{{- message.content or "" -}}', '{{- (message.content or "") | replace("7", "seven") -}}'),
            [QUESTION, {"role": "assistant", "content": "7 it is"}],
            r"turn 1 \(message 1, assistant\): is not rendered where it belongs; needed '7 it is'",
            id="rewrites the answer",
        ),
    ],
)
def test_row_that_the_template_changes_is_refused_with_its_turn(
    family: Family, change: tuple[str, str], messages: list[dict[str, Any]], problem: str
) -> None:
    """Though the template keeps to the contract in the small conversations."""
    template = read_template("exaone4").replace(*change)
    assert template != read_template("exaone4")
    tokenizer = family(template)
    assert check_template(tokenizer).modes == BOTH
    with pytest.raises(RowError, match=f"non_reasoning, {problem}") as caught:
        encode_row({"messages": messages, "mode": "non_reasoning"}, tokenizer)
    assert caught.value.reason == "changed by the chat template"


def test_reasoning_answer_without_thinking_is_not_trained(family: Family) -> None:
    eager = read_template("qwen3").replace(
        "elif loop.index0 > last_user.index and not thinks", "elif loop.index0 > last_user.index and thinks"
    )
    eager = eager.replace('{{- "<think>\\n\\n</think>\\n\\n" -}}', "")
    messages = [QUESTION, THOUGHT, {"role": "tool", "content": "r"}, {"role": "assistant", "content": "12."}]
    with pytest.raises(ContractError, match=r"message 3, assistant\): an answer without thinking is trained"):
        render_for_training(family(eager), messages, "reasoning")
    assert trained_text(family("qwen3"), messages, "reasoning") == "<think>\n4+7=11\n</think>\n\nIt is 11.<|im_end|>"
