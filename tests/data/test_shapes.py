from copy import deepcopy
from typing import Any

import pytest

from posttrain.data.shapes import to_messages
from posttrain.data.unusable import RowError

QUESTION = {"role": "user", "content": "4+7?"}
ANSWER = {"role": "assistant", "content": "11"}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"name": "add", "arguments": {"a": 4, "b": 7}}


@pytest.mark.parametrize(
    ("row", "messages", "converted"),
    [
        (
            {"conversations": [{"from": "human", "value": "4+7?"}, {"from": "gpt", "value": "11"}]},
            [QUESTION, ANSWER],
            "ShareGPT",
        ),
        (
            {
                "conversations": [{"from": "human", "value": "4+7?"}, {"from": "gpt", "value": "11"}],
                "system": "Be brief.",
            },
            [SYSTEM, QUESTION, ANSWER],
            "ShareGPT",
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "Be brief."},
                    {"from": "human", "value": "4+7?"},
                    {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 4, "b": 7}}'},
                    {"from": "observation", "value": "11"},
                    {"from": "gpt", "value": "11"},
                ]
            },
            [
                SYSTEM,
                QUESTION,
                {"role": "assistant", "content": "", "tool_calls": [CALL]},
                {"role": "tool", "content": "11"},
                ANSWER,
            ],
            "ShareGPT",
        ),
        ({"conversations": [QUESTION, ANSWER]}, [QUESTION, ANSWER], "ShareGPT"),
        ({"prompt": "4+7?", "completion": "11"}, [QUESTION, ANSWER], "prompt and completion"),
        ({"prompt": [SYSTEM, QUESTION], "completion": [ANSWER]}, [SYSTEM, QUESTION, ANSWER], "prompt and completion"),
        ({"instruction": "4+7?", "output": "11"}, [QUESTION, ANSWER], "instruction and output"),
        (
            {"instruction": "Add.", "input": "4+7", "output": "11", "system": "Be brief."},
            [SYSTEM, {"role": "user", "content": "Add.\n\n4+7"}, ANSWER],
            "instruction and output",
        ),
        ({"instruction": "4+7?", "input": "", "output": "11"}, [QUESTION, ANSWER], "instruction and output"),
    ],
)
def test_other_shapes_become_messages(row: dict[str, Any], messages: list[Any], converted: str) -> None:
    given = deepcopy({**row, "id": 3})
    assert to_messages(given) == ({"messages": messages, "id": 3}, [converted])
    assert given == {**row, "id": 3}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [QUESTION, ANSWER], "prompt": "x", "completion": "y", "conversations": [], "system": "z"},
        {"question": "4+7?", "answer": "11"},
        {"prompt": "4+7?", "answer": "11"},
        {"prompt": "4+7?", "completion": None},
        {"conversations": "hello"},
    ],
)
def test_other_rows_stay_as_they_are(row: dict[str, Any]) -> None:
    assert to_messages(row) == (row, [])


def test_speakers_nobody_knows_keep_their_name_to_be_refused_by_it() -> None:
    row, _ = to_messages({"conversations": [{"from": "narrator", "value": "a"}, {"from": ["x"], "value": "b"}, "c"]})
    assert row["messages"] == [{"role": "narrator", "content": "a"}, {"role": "['x']", "content": "b"}, "c"]


def test_tools_written_as_text_are_read() -> None:
    messages = [QUESTION, ANSWER]
    row, converted = to_messages({"messages": messages, "tools": '[{"name": "add"}]'})
    assert row["tools"] == [{"name": "add"}]
    assert converted == ["tools as text"]
    assert to_messages({"messages": messages, "tools": ""})[0]["tools"] is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [QUESTION, ANSWER], "tools": "[add"}, "broken tools"),
        ({"conversations": [{"from": "function_call", "value": "add(4, 7)"}]}, "broken tool call"),
        ({"conversations": [{"from": "function_call"}]}, "broken tool call"),
    ],
)
def test_broken_json_inside_a_row_makes_it_unusable(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        to_messages(row)
    assert caught.value.reason == reason
