from typing import Any

import pytest

from posttrain.chat import separate_thinking
from posttrain.errors import UserError


def assistant(content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


@pytest.mark.parametrize(
    ("written", "apart"),
    [
        (assistant("<think>\n4+7=11\n</think>\n\n11"), assistant("11", reasoning_content="4+7=11")),
        (assistant("\n <think>생각</think>답 "), assistant("답", reasoning_content="생각")),
        (assistant("<think>\n\n</think>\n\n11"), assistant("11")),
        (assistant("11", thinking="4+7=11"), assistant("11", reasoning_content="4+7=11")),
        (assistant("11", reasoning="4+7=11"), assistant("11", reasoning_content="4+7=11")),
    ],
)
def test_thinking_is_found_where_data_sets_put_it(written: dict[str, Any], apart: dict[str, Any]) -> None:
    assert separate_thinking(written) == apart


@pytest.mark.parametrize(
    "message",
    [
        assistant(" 11\n"),
        assistant("11", reasoning_content="4+7=11"),
        assistant("The tag <think> opens it."),
        assistant(None, tool_calls=[{"name": "f", "arguments": {}}]),
        assistant("11", reasoning_content="t", thinking={"budget": 3}),
    ],
)
def test_other_messages_stay_letter_by_letter(message: dict[str, Any]) -> None:
    assert separate_thinking(message) == message


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (assistant("<think>4+7=11"), "is never closed"),
        (assistant("4+7=11</think>11"), "`content` of an assistant turn, where it closes nothing"),
        (assistant("<think>a</think>b</think>c"), "`content` of an assistant turn, where it closes nothing"),
        (assistant("Well. <think>a</think>b"), "`content` of an assistant turn"),
        (assistant("b", reasoning_content="a</think>"), "`reasoning_content` of an assistant turn"),
        (assistant("<think>a</think>b", reasoning_content="a"), "`content` of an assistant turn"),
    ],
)
def test_tags_that_would_move_the_end_of_the_thinking_are_refused(message: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        separate_thinking(message)
