"""Whether the tool calls of a row are calls that a model should learn to write."""

from collections.abc import Iterator, Sequence
from typing import Any

from posttrain.data.unusable import RowError, parse_json


def check_tools(messages: Sequence[dict[str, Any]], tools: Any) -> None:
    """Check the row's tools and every call; a call of a tool that the row does not list is no call.

    A row without `tools` may call any.

    Raises:
        RowError: tools without a name, arguments that are no JSON object, or a call of an unknown tool.
    """
    known = {_name(tool, "broken tools", "a tool in `tools`") for tool in _list(tools, "broken tools", "`tools`")}
    for call in _calls(messages):
        name = _name(call, "broken tool call", "a call in `tool_calls`")
        arguments = _function(call).get("arguments")
        if isinstance(arguments, str):
            arguments = parse_json(arguments, "broken tool call", f"the arguments of '{name}'")
        if not isinstance(arguments, dict):
            raise RowError(
                "broken tool call", f"the arguments of '{name}' are {arguments!r:.80}; need an object, {{}} for none"
            )
        if known and name not in known:
            raise RowError("unknown tool", f"'{name}' is called, but `tools` lists {', '.join(sorted(known))}")


def _calls(messages: Sequence[dict[str, Any]]) -> Iterator[Any]:
    for message in messages:
        yield from _list(message.get("tool_calls"), "broken tool call", "`tool_calls`")


def _list(value: Any, reason: str, what: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise RowError(reason, f"{what} is a {type(value).__name__}; need a list")
    return value or []


def _name(tool: Any, reason: str, what: str) -> str:
    name = _function(tool).get("name")
    if not isinstance(name, str) or not name:
        raise RowError(reason, f"{what} has no name ({tool!r:.80})")
    return name


def _function(tool: Any) -> dict[str, Any]:
    """The part with name and arguments; some data sets write it without the wrapper."""
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    return function if isinstance(function, dict) else {}
