"""From a model's text to the tool calls in it."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_FENCE = re.compile(r"```(?:json|tool_call|tool_calls)?[ \t]*\n((?:(?!```).)*)```", re.DOTALL)


class Call(NamedTuple):
    """A tool by its name, and what it is called with."""

    name: str
    arguments: dict[str, Any]


def find_calls(text: str) -> list[Call]:
    """The calls of a text, in order; the first form that occurs counts.

    1. `<tool_call>{...}</tool_call>`, as Hermes, Qwen and EXAONE write them: each must hold a call or a list of calls;
    2. fenced blocks of JSON that hold calls; others are text;
    3. a text that is nothing but JSON, if that holds calls.

    Raises:
        ValueError: a block of the first form has no end or holds no call, or the arguments of a call make no sense.
    """
    _, *blocks = text.split("<tool_call>")
    if blocks:
        return [call for block in blocks for call in _read_block(block)]
    fenced = [call for block in _FENCE.findall(text) for call in _calls_or_text(block)]
    return fenced or _calls_or_text(text)


def read_calls(value: Any) -> list[Call]:
    """Calls from JSON: one or a list, as {"name", "arguments"} or nested as OpenAI does, arguments also as a string.

    Raises:
        ValueError: something else.
    """
    return [_read_call(each) for each in (value if isinstance(value, list) else [value])]


def load_json(text: str) -> Any:
    """JSON as the standard has it, without NaN.

    Raises:
        ValueError: it is not JSON.
    """
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _read_block(block: str) -> list[Call]:
    inside, end, _ = block.partition("</tool_call>")
    if not end:
        raise ValueError("<tool_call> without </tool_call>")
    try:
        value = load_json(inside)
    except ValueError as error:
        raise ValueError(f"not JSON inside <tool_call>: {error}") from error
    return read_calls(value)


def _calls_or_text(text: str) -> list[Call]:
    try:
        value = load_json(text)
    except ValueError:
        return []
    calls = value if isinstance(value, list) else [value]
    return read_calls(calls) if calls and all(_is_call(each) for each in calls) else []


def _is_call(value: Any) -> bool:
    return isinstance(value, Mapping) and ("function" in value or {"arguments", "parameters"} & set(value) != set())


def _read_call(value: Any) -> Call:
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value = value["function"]
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str) or not name:
        raise ValueError("a call without a name")
    arguments = value.get("arguments", value.get("parameters"))  # the latter as Llama writes it
    if isinstance(arguments, str):
        try:
            arguments = load_json(arguments)
        except ValueError as error:
            raise ValueError(f"the arguments of {name} are not JSON: {error}") from error
    if not isinstance(arguments, Mapping | None):
        raise ValueError(f"the arguments of {name} are a {type(arguments).__name__}, not an object")
    return Call(name, dict(arguments or {}))
