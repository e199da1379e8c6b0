"""Does the answer make the calls that it should, each argument with one of several allowed values?

For questions to which several calls are right ("Berlin" or "Berlin, Germany"), as in the Berkeley Function Calling
Leaderboard. The row lists the expected calls in `allowed_calls`, best as a JSON string, which no table changes:

    [{"name": "weather", "arguments": {"city": ["Berlin", "Berlin, Germany"], "unit": ["celsius", ""]}}]

An argument whose allowed values include "" may be left out; any other has to be there, and none beside them may.
Text is compared without case, blanks and the signs ``,./-_*^'"``; numbers as numbers, so 5 is 5.0 but not "5"; lists
item by item; of an object each key has its own list of allowed values. The order of the calls does not matter.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rewards._call_text import Call, find_calls
from rewards._printable import printable
from rewards.contract import Attempt, Case, Reward, Verdict

SEES = ("answer", "is_truncated", "row")

_NO_MATTER = re.compile(r"[\s,./\-_*^'\"]+")
_MAX_CALLS = 64


def allowed_calls(attempt: Attempt) -> Verdict:
    """Score 1 with the outcome right when the calls are as many as expected and can be matched one to one, else 0.

    Where none is expected, an answer without any is right, unless it is empty. Score None when the row has no readable
    `allowed_calls` (an empty list is one).
    """
    try:
        expected = _read_expected(attempt.row.get("allowed_calls"))
    except ValueError as error:
        return Verdict(None, reason=f"row['allowed_calls']: {error}"[:300])
    if not attempt.answer.strip():
        return _wrong("truncated" if attempt.is_truncated else "no answer")
    try:
        calls = find_calls(attempt.answer)
    except ValueError as error:
        return _wrong(str(error))
    except RecursionError:
        return _wrong("nested too deeply")
    extracted = printable("\n".join(f"{call.name}({json.dumps(call.arguments, sort_keys=True)})" for call in calls))
    if len(calls) != len(expected):
        return _wrong(f"{len(calls)} calls, need {len(expected)}", extracted)
    left = list(calls)
    for name, arguments in expected:
        match = next((index for index, call in enumerate(left) if _is_allowed(call, name, arguments)), None)
        if match is None:
            return _wrong(f"no allowed call of {name}", extracted)
        del left[match]
    return Verdict(1.0, outcome=True, extracted=extracted)


def gold_answer(row: Mapping[str, Any]) -> str | None:
    """The expected calls, each argument with the first of its allowed values; None where they cannot be read."""
    try:
        expected = _read_expected(row.get("allowed_calls"))
    except ValueError:
        return None
    calls = [
        {"name": name, "arguments": {key: _first(values) for key, values in arguments.items() if values[0] != ""}}
        for name, arguments in expected
    ]
    return "\n".join(f"<tool_call>{json.dumps(call)}</tool_call>" for call in calls) or "No tool is needed."


def _wrong(reason: str, extracted: str | None = None) -> Verdict:
    return Verdict(0.0, outcome=False, extracted=extracted, reason=printable(reason))


def _read_expected(value: Any) -> list[tuple[str, Mapping[str, Sequence[Any]]]]:
    calls = json.loads(value) if isinstance(value, str) else value
    if not isinstance(calls, list) or len(calls) > _MAX_CALLS:
        raise ValueError(f"need a list of at most {_MAX_CALLS} calls")
    expected = []
    for call in calls:
        name, arguments = (call.get(key) if isinstance(call, Mapping) else None for key in ("name", "arguments"))
        if not isinstance(name, str) or not isinstance(arguments, Mapping):
            raise ValueError("a call needs `name` and `arguments`")
        if not all(isinstance(values, list) and values for values in arguments.values()):
            raise ValueError(f"every argument of {name} needs a list of allowed values")
        expected.append((name, arguments))
    return expected


def _is_allowed(call: Call, name: str, arguments: Mapping[str, Sequence[Any]]) -> bool:
    return call.name == name and _fits(call.arguments, arguments)


def _fits(given: Mapping[str, Any], allowed: Mapping[str, Sequence[Any]]) -> bool:
    """Nothing is given that is not listed, and what is missing may be."""
    if not given.keys() <= allowed.keys():
        return False
    return all(
        any(_is_same(given[key], value) for value in values) if key in given else "" in values
        for key, values in allowed.items()
    )


def _is_same(given: Any, allowed: Any) -> bool:
    if isinstance(given, str) and isinstance(allowed, str):
        return _normal(given) == _normal(allowed)
    if isinstance(given, list) and isinstance(allowed, list):
        return len(given) == len(allowed) and all(map(_is_same, given, allowed))
    if isinstance(given, Mapping) and isinstance(allowed, Mapping):
        return _fits(given, {key: value if isinstance(value, list) else [value] for key, value in allowed.items()})
    return isinstance(given, bool) == isinstance(allowed, bool) and bool(given == allowed)


def _normal(text: str) -> str:
    return _NO_MATTER.sub("", text).casefold()


def _first(values: Sequence[Any]) -> Any:
    """The first allowed value as a call has it: an object's keys have lists of allowed values of their own."""
    return [_plain(each) for each in values[0]] if isinstance(values[0], list) else _plain(values[0])


def _plain(allowed: Any) -> Any:
    if not isinstance(allowed, Mapping):
        return allowed
    listed = {key: value if isinstance(value, list) and value else [value] for key, value in allowed.items()}
    return {key: _first(values) for key, values in listed.items() if values[0] != ""}


EXAMPLE: Reward = allowed_calls

_BERLIN = [{"name": "weather", "arguments": {"city": ["Berlin", "Berlin, Germany"], "days": [5], "unit": ["C", ""]}}]
_ROW = {"allowed_calls": json.dumps(_BERLIN)}
_TWO = {"allowed_calls": [{"name": "sum", "arguments": {"of": [[1, 2]]}}, {"name": "sum", "arguments": {"of": [[3]]}}]}
_NESTED = {"allowed_calls": [{"name": "find", "arguments": {"where": [{"size": [3, 4], "colour": ["red", ""]}]}}]}


def _call(name: str, arguments: str) -> str:
    return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'


CASES: list[Case] = [
    (_call("weather", '{"city": "Berlin", "days": 5}'), _ROW, 1.0),
    (_call("weather", '{"city": "berlin germany", "days": 5.0, "unit": "c"}'), _ROW, 1.0),
    (_call("weather", '{"city": "Bern", "days": 5}'), _ROW, 0.0),
    (_call("weather", '{"city": "Berlin", "days": "5"}'), _ROW, 0.0),
    (_call("weather", '{"city": "Berlin"}'), _ROW, 0.0),
    (_call("weather", '{"city": "Berlin", "days": 5, "hours": 1}'), _ROW, 0.0),
    (_call("whether", '{"city": "Berlin", "days": 5}'), _ROW, 0.0),
    (_call("weather", '{"city": "Berlin", "days": 5}') * 2, _ROW, 0.0),
    ("It is sunny.", _ROW, 0.0),
    ('<tool_call>{"name": "weather"', _ROW, 0.0),
    (_call("sum", '{"of": [3]}') + _call("sum", '{"of": [1, 2]}'), _TWO, 1.0),
    (_call("sum", '{"of": [3]}') * 2, _TWO, 0.0),
    (_call("find", '{"where": {"size": 4}}'), _NESTED, 1.0),
    (_call("find", '{"where": {"size": true}}'), _NESTED, 0.0),
    (_call("find", '{"where": {"size": 5, "colour": "red"}}'), _NESTED, 0.0),
    ("No tool does that.", {"allowed_calls": []}, 1.0),
    (_call("sum", "{}"), {"allowed_calls": "[]"}, 0.0),
    (_call("sum", "{}"), {}, None),
    (_call("sum", "{}"), {"allowed_calls": "[{"}, None),
    (_call("sum", "{}"), {"allowed_calls": [{"name": "sum", "arguments": {"of": 1}}]}, None),
]
