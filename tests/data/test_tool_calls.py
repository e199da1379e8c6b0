from typing import Any

import pytest

from posttrain.data.tool_calls import check_tools
from posttrain.data.unusable import RowError

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}, {"name": "날씨"}]


def calling(*calls: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": list(calls)}]


@pytest.mark.parametrize(
    ("call", "tools"),
    [
        ({"type": "function", "function": {"name": "add", "arguments": {"a": 4}}}, TOOLS),
        ({"function": {"name": "add", "arguments": '{"a": 4}'}}, TOOLS),
        ({"name": "날씨", "arguments": {}}, TOOLS),
        ({"name": "any", "arguments": {}}, None),
        ({"name": "any", "arguments": {}}, []),
    ],
)
def test_sound_calls_pass(call: Any, tools: Any) -> None:
    check_tools(calling(call), tools)


@pytest.mark.parametrize(
    ("call", "tools", "reason", "message"),
    [
        (
            {"function": {"name": "add", "arguments": '{"a": '}},
            TOOLS,
            "broken tool call",
            "arguments of 'add' should be",
        ),
        (
            {"name": "add", "arguments": "[4]"},
            TOOLS,
            "broken tool call",
            r"arguments of 'add' are \[4\]; need an object",
        ),
        ({"name": "add"}, TOOLS, "broken tool call", "arguments of 'add' are None; need an object"),
        ({"arguments": {}}, TOOLS, "broken tool call", "has no name"),
        ({"function": "add"}, TOOLS, "broken tool call", "has no name"),
        ("add(4, 7)", TOOLS, "broken tool call", "has no name"),
        ({"name": "mul", "arguments": {}}, TOOLS, "unknown tool", "'mul' is called, but `tools` lists add, 날씨"),
        ({"name": "add", "arguments": {}}, {"add": {}}, "broken tools", "`tools` is a dict; need a list"),
        ({"name": "add", "arguments": {}}, [{"type": "function"}], "broken tools", "a tool in `tools` has no name"),
    ],
)
def test_broken_calls_are_named(call: Any, tools: Any, reason: str, message: str) -> None:
    with pytest.raises(RowError, match=message) as caught:
        check_tools(calling(call), tools)
    assert caught.value.reason == reason


def test_calls_that_are_no_list_are_named() -> None:
    with pytest.raises(RowError, match="`tool_calls` is a dict; need a list"):
        check_tools([{"role": "assistant", "tool_calls": {"name": "add"}}], None)
