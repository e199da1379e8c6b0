import json
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards import Verdict, make_attempt
from rewards.tool_calls import ToolCalls

Json = dict[str, Any]
EVEN_ON_A_BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
LEAVES = st.sampled_from([True, False, 0, 1, -7, 1.0, 0.5, 1e30, "", "1", "true", "서울", "a b", '"', "\ud800"])
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.sampled_from(["a", "서울"]), LEAVES, max_size=2)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from("abc"),
            "arguments": st.dictionaries(st.sampled_from(["x", "y", "날짜"]), VALUES, max_size=2),
        }
    ),
    min_size=1,
    max_size=3,
)


def tagged(*calls: Json) -> str:
    return "".join(f"<tool_call>{json.dumps(call)}</tool_call>" for call in calls)


def call(name: str = "f", **arguments: Any) -> Json:
    return {"name": name, "arguments": arguments}


def grade(answer: str, expected: Any, reward: ToolCalls | None = None, tools: Any = None) -> Verdict:
    return (reward or ToolCalls())(make_attempt(answer, {"tool_calls": expected, "tools": tools}))


def tool(name: str = "f", required: tuple[str, ...] = (), **properties: Json) -> Json:
    parameters = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@EVEN_ON_A_BUSY_MACHINE
@given(CALLS)
def test_the_expected_calls_are_right_in_every_form(calls: list[Json]) -> None:
    nested = [{"id": "1", "function": {**each, "arguments": json.dumps(each["arguments"])}} for each in calls]
    fenced = "".join(f"Next:\n```json\n{json.dumps(each, indent=2)}\n```\n" for each in calls)
    for answer in (
        tagged(*calls),
        tagged(*nested),
        f"<tool_call>{json.dumps(calls)}</tool_call>",
        fenced,
        json.dumps(nested),
    ):
        for expected in (calls, nested, json.dumps(calls)):
            verdict = grade(answer, expected, ToolCalls(in_order=True))
            assert verdict.outcome is True, verdict


@EVEN_ON_A_BUSY_MACHINE
@given(CALLS, CALLS)
def test_only_the_number_of_each_call_counts_unless_the_order_does(calls: list[Json], others: list[Json]) -> None:
    assert grade(tagged(*calls[::-1]), calls).outcome is True
    key = sorted(json.dumps(each, sort_keys=True) for each in calls)
    is_same = key == sorted(json.dumps(each, sort_keys=True) for each in others)
    if is_same or len(calls) != len(others):
        assert grade(tagged(*others), calls).outcome is is_same


def test_in_order_the_calls_must_come_as_in_the_row() -> None:
    reward = ToolCalls(in_order=True)
    one, two = call(x=1), call(x=2)
    assert grade(tagged(one, two), [one, two], reward).score == 1
    verdict = grade(tagged(two, one), [one, two], reward)
    assert (verdict.score, verdict.reason) == (0, "not in the expected order")


def test_extra_calls_pass_only_where_they_are_allowed_and_valid() -> None:
    one, two = call(x=1), call(x=2)
    assert grade(tagged(two, one), [one]).reason == 'not expected: f({"x": 2})'
    for in_order in (True, False):
        reward = ToolCalls(in_order=in_order, extra_calls="allow")
        assert grade(tagged(two, one, two), [one], reward).score == 1
        assert grade(tagged(two), [one], reward).score == 0
        tools = [tool(x={"type": "integer"})]
        assert grade(tagged(two, one), [one], reward, tools).score == 1
        assert grade(tagged(call(x="two"), one), [one], reward, tools).score == 0
        assert grade(tagged(call("g"), one), [one], reward, tools).score == 0
    in_order = ToolCalls(in_order=True, extra_calls="allow")
    assert grade(tagged(two, two, one), [one, two], in_order).score == 0


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="extra_calls='some': it must be 'forbid' or 'allow'"):
        ToolCalls(extra_calls="some")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expected", "given", "is_right"),
    [
        (1, "1", True),
        (1, "1.0", True),
        (1, "1e0", True),
        (1, '"1"', False),
        (1, "true", False),
        (0, "false", False),
        (True, "true", True),
        ("1", "1", False),
        (0.5, "0.50", True),
        ("Seoul", '"seoul"', False),
        ([1, 2], "[1.0, 2]", True),
        ([1, 2], "[2, 1]", False),
        ({"a": 1, "b": [True]}, '{"b": [true], "a": 1.0}', True),
        ({"a": 1}, '{"a": 1, "b": null}', True),
        ({"a": 1}, '{"a": 1, "b": 2}', False),
        (1, "NaN", False),
    ],
)
def test_arguments_are_compared_as_json_values(expected: Any, given: str, is_right: bool) -> None:
    answer = f'<tool_call>{{"name": "f", "arguments": {{"x": {given}}}}}</tool_call>'
    assert grade(answer, [call(x=expected)]).outcome is is_right


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"days": 1}, ""),
        ({"days": 1.0, "unit": "C"}, ""),
        ({"days": "1"}, "f.days: '1' is not of type 'integer'"),
        ({"days": True}, "f.days: True is not of type 'integer'"),
        ({"days": 1, "unit": "K"}, "f.unit: 'K' is not one of ['C', 'F']"),
        ({"days": 1, "unit": "F"}, 'expected f({"days": 1, "unit": "C"}), got f({"days": 1, "unit": "F"})'),
        ({}, "f: 'days' is a required property"),
        ({"days": 1, "city": "Lima"}, "f: Additional properties are not allowed ('city' was unexpected)"),
    ],
)
def test_the_schema_decides_on_types_and_defaults_and_the_reason_says_so(arguments: Json, reason: str) -> None:
    tools = [tool(required=("days",), days={"type": "integer"}, unit={"enum": ["C", "F"], "default": "C"})]
    for expected in ({"days": 1}, {"days": 1, "unit": "C"}):
        for given_tools in (tools, [tools[0]["function"]], json.dumps(tools)):
            verdict = grade(tagged(call(**arguments)), [call(**expected)], tools=given_tools)
            assert verdict.reason == reason
            assert verdict.outcome is (not reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('<tool_call>{"name": "f"', "<tool_call> without </tool_call>"),
        ('<tool_call>{"name": "f",}</tool_call>', "not JSON inside <tool_call>"),
        ("<tool_call>{}</tool_call>", "a call without a name"),
        ("<tool_call>7</tool_call>", "a call without a name"),
        ('<tool_call>{"name": "f", "arguments": [1]}</tool_call>', "the arguments of f are a list"),
        ('<tool_call>{"name": "f", "arguments": "{x"}</tool_call>', "the arguments of f are not JSON"),
        (f"<tool_call>{'[' * 9000}</tool_call>", "nested too deeply"),
        (f'<tool_call>{{"name": "f", "arguments": {{"x": {"[" * 900}{"]" * 900}}}}}</tool_call>', ""),
        (f'<tool_call>{{"name": "f", "arguments": {{"x": {"9" * 5000}}}}}</tool_call>', "not JSON inside"),
        (f"{tagged(call(x=1))}<tool_call>", "<tool_call> without </tool_call>"),
        ("I call f with x = 1.", 'expected f({"x": 1}), which is not called'),
        ('```python\n{"name": "f", "arguments": {"x": 1}}\n```', "which is not called"),
        ('{"name": "f", "arguments": {"x": 1}} is the call', "which is not called"),
    ],
)
def test_what_is_no_readable_call_is_wrong_with_a_reason(answer: str, reason: str) -> None:
    verdict = grade(answer, [call(x=1)])
    assert verdict.outcome is False
    assert reason in verdict.reason
    verdict.reason.encode()


@pytest.mark.parametrize("answer", ["All is said.", '```json\n{"name": "Kim"}\n```', '{"name": "Kim"}', "[]"])
def test_where_nothing_is_to_be_called_other_text_and_json_are_right(answer: str) -> None:
    assert grade(answer, []).outcome is True
    assert grade(tagged(call()), []).outcome is False


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "row['tool_calls'] is NoneType, need a list"),
        ({"tool_calls": {"name": "f"}}, "row['tool_calls'] is dict"),
        ({"tool_calls": [{"arguments": {}}]}, "a call without a name"),
        ({"tool_calls": [call(x="1")], "tools": [tool(x={"type": "integer"})]}, "'1' is not of type 'integer'"),
        ({"tool_calls": [call("g")], "tools": [tool()]}, "there is no tool 'g'"),
        ({"tool_calls": [call()], "tools": [tool(x={"type": "int"})]}, "'int' is not valid"),
        ({"tool_calls": [call()], "tools": [{"type": "function"}]}, "KeyError: 'name'"),
        ({"tool_calls": [call()], "tools": "[{"}, "JSONDecodeError"),
    ],
)
def test_a_reference_that_makes_no_sense_cannot_be_judged(row: Json, reason: str) -> None:
    verdict = ToolCalls()(make_attempt(tagged(call(x=1)), row))
    assert verdict.score is None
    assert reason in verdict.reason


def test_the_nulls_that_a_table_fills_in_change_nothing() -> None:
    rows = [
        {"tool_calls": [call("f", x=1)], "tools": [tool("f", ("x",), x={"type": "integer", "default": 1})]},
        {"tool_calls": [call("g", y="a")], "tools": [tool("g", ("y",), y={"type": "string", "enum": ["a", "b"]})]},
    ]
    for row, filled in zip(rows, Dataset.from_list(rows), strict=True):
        assert filled != row
        answers = (tagged(*row["tool_calls"]), tagged(call("f", x="1")), tagged(call("g", y="c")))
        assert [grade(answer, **names(row)).outcome for answer in answers] == [True, False, False]
        assert [grade(answer, **names(filled)).outcome for answer in answers] == [True, False, False]


def names(row: Json) -> Json:
    return {"expected": row["tool_calls"], "tools": row["tools"]}
