"""What can be used is encoded, what cannot is set aside and told, and too much of it stops the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain.chat import MODES
from posttrain.data.encode import encode_row
from posttrain.data.intake import Intake, describe_intake, take_in
from posttrain.data.rejected import write_rejected
from posttrain.data.rows import read_all
from posttrain.errors import UserError
from posttrain.recipe import SFTDataSection, Source

QUESTION = {"role": "user", "content": "4+7?"}
DIRECT = {"messages": [QUESTION, {"role": "assistant", "content": "11"}]}
THOUGHT = {"messages": [QUESTION, {"role": "assistant", "content": "11", "reasoning_content": "4+7=11"}]}
LONG = {"messages": [QUESTION, {"role": "assistant", "content": "7" * 200}]}  # every digit is a token
MUTE = {"messages": [QUESTION]}
CRITIC = {"messages": [{"role": "critic", "content": "x"}, *DIRECT["messages"]]}

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A file of rows; a text is written as it is."""

    def write(name: str, *rows: Any) -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    return write


def numbered(count: int) -> list[dict[str, Any]]:
    """Rows of which no two say the same."""
    return [{"messages": [QUESTION, {"role": "assistant", "content": str(number)}]} for number in range(count)]


def data(*paths: Path, **more: Any) -> SFTDataSection:
    return SFTDataSection(sources=[Source(path=str(path), name=path.stem) for path in paths], **more)


def only(section: SFTDataSection, tokenizer: Any) -> Intake:
    (intake,) = take_in(section, tokenizer)
    return intake


def refusal(section: SFTDataSection, tokenizer: Any) -> str:
    with pytest.raises(UserError) as caught:
        take_in(section, tokenizer)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is taken ---


@pytest.mark.parametrize("weight", [0, -1, "2", True, [1], float("nan"), float("inf"), 10**400])
def test_row_with_a_weight_that_is_no_positive_number_is_set_aside(make: Make, tokenizer: Any, weight: Any) -> None:
    intake = only(data(make("a.jsonl", {**DIRECT, "weight": weight}, DIRECT), rejected_max_share=1.0), tokenizer)
    (row,) = intake.rejected
    assert (row.line, row.reason, len(intake.rows)) == (1, "broken weight", 1)
    assert row.detail.startswith("weight is ")


def test_every_row_is_encoded_in_the_order_of_its_source(demo_files: dict[str, Path], tokenizer: Any) -> None:
    paths = [demo_files[f"sft_{mode}"] for mode in MODES]
    for intake, path in zip(take_in(data(*paths), tokenizer), paths, strict=True):
        rows = read_all([Source(path=str(path))])
        assert list(intake.rows) == [encode_row(row, tokenizer) for row in rows]
        assert intake.name == path.stem
        assert intake.rejected == []


def test_two_sources_of_one_name_are_refused(make: Make, tokenizer: Any) -> None:
    path = make("a.jsonl", DIRECT)
    assert refusal(data(path, path), tokenizer).startswith("data.sources.1: two sources are named 'a'")


def test_modes_that_are_inferred_and_shapes_that_are_converted_are_counted_and_said(make: Make, tokenizer: Any) -> None:
    shared = {"conversations": [{"from": "human", "value": "4+7?"}, {"from": "gpt", "value": "<think>11</think>11"}]}
    rows = [{**THOUGHT, "mode": "reasoning"}, shared, *numbered(2)]
    intake = only(data(make("a.jsonl", *rows)), tokenizer)
    assert intake.inferred_modes == {"reasoning": 1, "non_reasoning": 2}
    assert intake.converted == {"ShareGPT": 1, "thinking in the text": 1}
    assert list(describe_intake([intake])) == [
        "a: mode inferred for 2 rows as non_reasoning; mode inferred for 1 rows as reasoning; "
        "converted ShareGPT in 1 rows; converted thinking in the text in 1 rows"
    ]


def test_rows_that_say_all_themselves_need_no_words(make: Make, tokenizer: Any) -> None:
    intake = only(data(make("a.jsonl", {**THOUGHT, "mode": "reasoning"})), tokenizer)
    assert list(describe_intake([intake])) == []


# --- what is set aside ---


def test_rejected_rows_are_named_with_file_line_and_reason(make: Make, tokenizer: Any) -> None:
    path = make("a.jsonl", MUTE, *numbered(2), "{", LONG, "", CRITIC, "7")
    intake = only(data(path, max_length=100, rejected_max_share=1.0), tokenizer)
    assert len(intake.rows) == 2
    assert [(each.line, each.reason) for each in intake.rejected] == [
        (1, "no assistant turn"),
        (4, "not JSON"),
        (5, "too long"),
        (7, "unknown role"),
        (8, "no messages"),
    ]
    assert {(each.source, each.file) for each in intake.rejected} == {("a", str(path))}
    length = len(encode_row({**LONG, "mode": "non_reasoning"}, tokenizer).input_ids)
    assert [each.tokens for each in intake.rejected] == [None, None, length, None, None]
    assert f"too long 1 ({length} tokens, first {path}:5)" in list(describe_intake([intake]))[1]
    assert intake.notes()["rejected"]["too long"] == 1
    assert intake.notes()["rejected_tokens"] == length


def test_row_of_just_the_allowed_length_is_taken_and_one_token_more_is_set_aside_uncut(
    make: Make, tokenizer: Any
) -> None:
    path = make("a.jsonl", *numbered(1), LONG)
    length = len(encode_row({**LONG, "mode": "non_reasoning"}, tokenizer).input_ids)
    assert len(only(data(path, max_length=length), tokenizer).rows) == 2
    (problem,) = only(data(path, max_length=length - 1, rejected_max_share=1.0), tokenizer).rejected
    assert problem.detail.startswith(f"{length} tokens, data.max_length is {length - 1}; cutting would lose")
    assert (problem.reason, problem.tokens, problem.line) == ("too long", length, 2)


def test_rejected_rows_are_written_a_line_each(make: Make, tokenizer: Any, tmp_path: Path) -> None:
    intake = only(data(make("a.jsonl", DIRECT, MUTE, "{"), rejected_max_share=1.0), tokenizer)
    for _ in range(2):  # a resumed run writes the same again
        write_rejected(tmp_path / "rejected.jsonl", intake.rejected)
    lines = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert lines == [each._asdict() for each in intake.rejected]
    assert list(lines[0]) == ["source", "file", "line", "reason", "detail", "tokens"]
    write_rejected(tmp_path / "none.jsonl", [])
    assert not (tmp_path / "none.jsonl").exists()


def test_run_goes_on_with_just_the_allowed_share_and_not_with_one_row_more(make: Make, tokenizer: Any) -> None:
    rows = numbered(99)
    assert len(only(data(make("a.jsonl", *rows, MUTE)), tokenizer).rejected) == 1
    path = make("b.jsonl", *rows, MUTE, CRITIC, CRITIC)
    message = refusal(data(path), tokenizer)
    assert message.startswith("3 of 102 rows cannot be used (2.9%; data.rejected_max_share is 1.0%): ")
    assert f"unknown role 2 (first {path}:101: unknown role 'critic'; need one of" in message
    assert f"no assistant turn 1 (first {path}:100: " in message
    assert message.index("unknown role 2") < message.index("no assistant turn 1")


def test_share_is_of_all_sources_together(make: Make, tokenizer: Any) -> None:
    good, mixed = make("good.jsonl", *numbered(199)), make("mixed.jsonl", DIRECT, MUTE)
    assert refusal(data(mixed), tokenizer).startswith("1 of 2 rows")
    assert [len(intake.rows) for intake in take_in(data(good, mixed), tokenizer)] == [199, 1]


def test_rows_too_long_are_dropped_without_counting_where_the_recipe_says_so(make: Make, tokenizer: Any) -> None:
    path = make("a.jsonl", DIRECT, LONG, LONG)
    assert "too long 2 (" in refusal(data(path, max_length=100), tokenizer)
    intake = only(data(path, max_length=100, too_long="drop"), tokenizer)
    assert len(intake.rows) == 1
    assert [each.reason for each in intake.rejected] == ["too long", "too long"]
    assert intake.notes()["rejected_tokens"] > 400
    with_other = make("b.jsonl", DIRECT, LONG, MUTE)
    assert refusal(data(with_other, max_length=100, too_long="drop"), tokenizer).startswith("1 of 3 rows")


def test_source_of_which_nothing_is_left_is_refused_whatever_the_share(make: Make, tokenizer: Any) -> None:
    paths = make("good.jsonl", *numbered(300)), make("lost.jsonl", MUTE)
    message = refusal(data(*paths), tokenizer)
    assert message.startswith("data source 'lost' has no row to train on: no assistant turn 1 (first ")


def test_message_stays_one_short_line_whatever_the_row_says(make: Make, tokenizer: Any) -> None:
    row = {"messages": [{"role": "a\nb" + " c" * 10_000, "content": "x"}, *DIRECT["messages"]]}
    message = refusal(data(make("a.jsonl", row)), tokenizer)
    assert "unknown role 'a b c c" in message
    assert len(message) < 1000


# --- the same row twice ---


def test_duplicates_are_counted_in_rows_and_tokens_and_kept(make: Make, tokenizer: Any) -> None:
    """Another response to the same query is none, nor is the other mode."""
    first = make("first.jsonl", DIRECT, THOUGHT, *numbered(3))
    second = make("second.jsonl", DIRECT, {**THOUGHT, "id": 7}, *numbered(1), LONG)
    tools = [{"name": "add"}]
    third = make("third.jsonl", {**DIRECT, "tools": tools}, {**DIRECT, "tools": tools})
    intakes = take_in(data(first, second, third), tokenizer)
    assert [intake.duplicates for intake in intakes] == [0, 3, 1]
    assert [len(intake.rows) for intake in intakes] == [5, 4, 2]
    tokens = sum(row.trained_tokens for row in intakes[1].rows[:3])
    assert intakes[1].duplicate_tokens == tokens
    share = tokens / sum(row.trained_tokens for row in intakes[1].rows)
    assert list(describe_intake(intakes))[2] == f"second: 3 duplicates ({share:.2%} of its trained tokens)"


def test_duplicates_are_left_out_where_the_recipe_says_so(make: Make, tokenizer: Any) -> None:
    intake = only(data(make("a.jsonl", DIRECT, THOUGHT, DIRECT, DIRECT), drop_duplicates=True), tokenizer)
    assert list(intake.rows) == list(only(data(make("b.jsonl", DIRECT, THOUGHT)), tokenizer).rows)
    assert intake.duplicates == 2
    again = data(make("a.jsonl", DIRECT), make("b.jsonl", DIRECT), drop_duplicates=True)
    assert "data source 'b' has no row to train on: all say the same" in refusal(again, tokenizer)
