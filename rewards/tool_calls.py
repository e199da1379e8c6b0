"""Does the answer call the tools that it should, with the right arguments?

The row says what is expected in `tool_calls`, and may say in `tools` what the tools take; both as they are written in
the messages of the common chat formats, or as JSON strings, which no table changes:

    {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Seoul"}}],
     "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "default": "C"}}}}}], ...}

How calls are found in the text is said in `rewards._call_text`. Arguments are compared as JSON values: 1 is 1.0, but
neither "1" nor true. Null is the same as left out. With `tools`, an argument must be of the type that its JSON schema
demands, and one that is left out is the same as its default (not inside of nested objects).
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rewards._call_text import Call, find_calls, load_json, read_calls
from rewards._printable import printable
from rewards.contract import Attempt, Case, Reward, Verdict

SEES = ("answer", "is_truncated", "row")

ExtraCalls = Literal["forbid", "allow"]


@dataclass(frozen=True)
class ToolCalls:
    """Score 1 with the outcome right when the expected calls are made, else 0 with the outcome wrong.

    Where no calls are expected, an answer without any is right, unless it is empty. Score None when the row has no
    readable `tool_calls` (an empty list is one), when its schemas are none, or when the expected calls do not keep to
    them.

    Attributes:
        in_order: The calls must come in the order of the row; by default they are independent of one another.
        extra_calls: What to do with calls that were not expected: "forbid" makes the answer wrong; "allow" lets them
            pass when they are valid.

    Raises:
        ValueError: `extra_calls` is something else.
    """

    in_order: bool = False
    extra_calls: ExtraCalls = "forbid"

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        if self.extra_calls not in get_args(ExtraCalls):
            raise ValueError(f"ToolCalls got extra_calls={self.extra_calls!r}: it must be 'forbid' or 'allow'")

    def __call__(self, attempt: Attempt) -> Verdict:
        """Compare the calls of the answer with those of the row."""
        try:
            schemas = _read_schemas(attempt.row.get("tools"))
            expected = [_normal(call, schemas) for call in _read_expected(attempt.row.get("tool_calls"))]
        except Exception as error:  # noqa: BLE001 a schema can be wrong in many ways, and it is the row's
            return Verdict(None, reason=f"reference: {type(error).__name__}: {error}"[:300])
        if not attempt.answer.strip():
            return _wrong("truncated" if attempt.is_truncated else "no answer")
        try:
            calls = [_normal(call, schemas) for call in find_calls(attempt.answer)]
        except ValueError as error:
            return _wrong(str(error))
        except RecursionError:
            return _wrong("nested too deeply")
        fault = self._compare(expected, calls)
        extracted = printable("\n".join(calls))
        return _wrong(fault, extracted) if fault else Verdict(1.0, outcome=True, extracted=extracted)

    def _compare(self, expected: list[str], calls: list[str]) -> str:
        missing, extra = Counter(expected) - Counter(calls), Counter(calls) - Counter(expected)
        if missing:
            return f"expected {next(iter(missing))}, {f'got {next(iter(extra))}' if extra else 'which is not called'}"
        if extra and self.extra_calls == "forbid":
            return f"not expected: {next(iter(extra))}"
        rest = iter(calls)
        if self.in_order and not all(call in rest for call in expected):
            return "not in the expected order"
        return ""


def _wrong(reason: str, extracted: str | None = None) -> Verdict:
    return Verdict(0.0, outcome=False, extracted=extracted, reason=printable(reason))


def _read_expected(value: Any) -> list[Call]:
    calls = load_json(value) if isinstance(value, str) else value
    if not isinstance(calls, list):
        raise ValueError(f"row['tool_calls'] is {type(calls).__name__}, need a list")
    return read_calls(calls)


def _read_schemas(tools: Any) -> dict[str, Mapping[str, Any]]:
    """The JSON schemas of the parameters, by the name of the tool; empty where the row has no tools."""
    tools = load_json(tools) if isinstance(tools, str) else tools
    functions = [tool.get("function") or tool for tool in tools or []]
    return {function["name"]: _without_nulls(function.get("parameters") or {}) for function in functions}


def _normal(call: Call, schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """A call in the one way in which it is compared.

    Raises:
        ValueError: there is no such tool, or its schema does not allow the arguments.
    """
    arguments = _without_nulls(call.arguments)
    if schemas:
        if call.name not in schemas:
            raise ValueError(f"there is no tool {call.name!r}")
        schema = schemas[call.name]
        defaults = {name: each["default"] for name, each in schema.get("properties", {}).items() if "default" in each}
        arguments = _without_nulls(defaults | arguments)
        _validate(call.name, arguments, schema)
    return f"{call.name}({json.dumps(_plain(arguments), sort_keys=True, ensure_ascii=False)})"


def _validate(name: str, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    Draft202012Validator.check_schema(schema)
    error = best_match(Draft202012Validator(schema).iter_errors(arguments))
    if error is not None:
        raise ValueError(f"{name}{''.join(f'.{part}' for part in error.absolute_path)}: {error.message}")


def _without_nulls(value: Any) -> Any:
    """Tables give every object all keys that there are, null where they were absent."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """1.0 is written as 1."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def gold_answer(row: Mapping[str, Any]) -> str | None:
    """The expected calls as a model would write them; None where they cannot be read."""
    try:
        calls = _read_expected(row.get("tool_calls"))
    except ValueError:
        return None
    return "\n".join(f"<tool_call>{json.dumps(call._asdict())}</tool_call>" for call in calls) or "No tool is needed."


EXAMPLE: Reward = ToolCalls()

_WEATHER = {"tool_calls": [{"name": "weather", "arguments": {"city": "Seoul"}}]}
_TWO = {"tool_calls": [{"name": "weather", "arguments": {"city": city}} for city in ("Seoul", "Lima")]}
_NONE: dict[str, Any] = {"tool_calls": []}
_PARAMETERS = {
    "type": "object",
    "properties": {"days": {"type": "integer"}, "unit": {"enum": ["C", "F"], "default": "C"}},
    "required": ["days"],
}
_TOOLS = {
    "tools": [{"type": "function", "function": {"name": "forecast", "parameters": _PARAMETERS}}],
    "tool_calls": [{"function": {"name": "forecast", "arguments": '{"days": 1}'}}],
}


def _call(name: str, arguments: str) -> str:
    return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'


_SEOUL, _LIMA = _call("weather", '{"city": "Seoul"}'), _call("weather", '{"city": "Lima"}')
CASES: list[Case] = [
    (f"Let me look.\n{_SEOUL}", _WEATHER, 1.0),
    ('```json\n{"name": "weather", "arguments": {"city": "Seoul"}}\n```', _WEATHER, 1.0),
    ('[{"name": "weather", "parameters": {"city": "Seoul"}}]', _WEATHER, 1.0),
    ('{"function": {"name": "weather", "arguments": "{\\"city\\": \\"Seoul\\"}"}}', _WEATHER, 1.0),
    (_LIMA, _WEATHER, 0.0),
    (_call("whether", '{"city": "Seoul"}'), _WEATHER, 0.0),
    (_call("weather", '{"city": "Seoul", "days": 1}'), _WEATHER, 0.0),
    (_call("weather", '{"city": "Seoul", "days": null}'), _WEATHER, 1.0),
    ("It is sunny in Seoul.", _WEATHER, 0.0),
    ('<tool_call>{"name": "weather", "arguments": {"city": "Seoul"}}', _WEATHER, 0.0),
    ('<tool_call>{"name": "weather", "arguments": {city: Seoul}}</tool_call>', _WEATHER, 0.0),
    ({"answer": "", "thinking": _SEOUL}, _WEATHER, 0.0),
    (_SEOUL + _LIMA, _TWO, 1.0),
    (_LIMA + _SEOUL, _TWO, 1.0),
    (_SEOUL, _TWO, 0.0),
    (_SEOUL + _SEOUL, _TWO, 0.0),
    (_SEOUL + _LIMA, _WEATHER, 0.0),
    ("Nothing to look up.", _NONE, 1.0),
    ('An object such as {"name": "Kim"} is no call.', _NONE, 1.0),
    (_SEOUL, _NONE, 0.0),
    (_call("forecast", '{"days": 1}'), _TOOLS, 1.0),
    (_call("forecast", '{"days": 1.0, "unit": "C"}'), _TOOLS, 1.0),
    (_call("forecast", '{"days": "1"}'), _TOOLS, 0.0),
    (_call("forecast", '{"days": true}'), _TOOLS, 0.0),
    (_call("forecast", '{"days": 1, "unit": "F"}'), _TOOLS, 0.0),
    (_call("forecast", "{}"), _TOOLS, 0.0),
    (_SEOUL, _TOOLS, 0.0),
    (_SEOUL, {**_WEATHER, "tool_calls": json.dumps(_WEATHER["tool_calls"])}, 1.0),
    (_SEOUL, {}, None),
    (_SEOUL, {"tool_calls": "[{"}, None),
    (_SEOUL, {**_TOOLS, "tool_calls": [{"name": "forecast", "arguments": {"days": "1"}}]}, None),
    (_SEOUL, {**_WEATHER, "tools": [{"name": "weather", "parameters": {"type": "int"}}]}, None),
]
