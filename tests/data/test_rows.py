import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from posttrain.data.rows import place_of, read_all, read_records, source_files, split_prompt
from posttrain.errors import UserError
from posttrain.recipe import Source

QUESTION = {"role": "user", "content": "4+7? 얼마? ¿Cuánto?"}
ANSWER = {"role": "assistant", "content": "11"}
DIRECT = {"messages": [QUESTION, ANSWER]}
THOUGHT = {"messages": [QUESTION, {"role": "assistant", "content": "11", "reasoning_content": "4+7=11"}]}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_all([Source(path=str(path))])
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# --- what is read ---


def test_folder_of_files_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", {**DIRECT, "id": 2}, {**DIRECT, "id": 3})
    write(tmp_path / "a.jsonl", {**DIRECT, "id": 1})
    for path in (tmp_path, tmp_path / "*.jsonl"):
        source = Source(path=str(path))
        assert [row["id"] for row in read_all([source])] == [1, 2, 3]
        assert source_files([source]) == [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    write(tmp_path / "c.jsonl", DIRECT, {"text": "a"})
    assert f"{tmp_path / 'c.jsonl'}:2: no messages" in refusal(tmp_path)


def test_other_shapes_and_thinking_in_the_text_are_read_as_messages(tmp_path: Path) -> None:
    said = "<think>\n4+7=11\n</think>\n\n11"
    turns = [{"from": "human", "value": QUESTION["content"]}, {"from": "gpt", "value": said}]
    path = write(tmp_path / "a.jsonl", {"conversations": turns, "id": 1}, THOUGHT, {"prompt": "a", "completion": "b"})
    shared, plain, pair = read_records(Source(path=str(path)))
    assert shared.row == {**THOUGHT, "id": 1, "mode": "reasoning"}
    assert shared.converted == ["ShareGPT", "thinking in the text"]
    assert plain.row == {**THOUGHT, "mode": "reasoning"}
    assert plain.converted == []
    assert pair.converted == ["prompt and completion"]
    assert (pair.file, pair.line) == (str(path), 3)


def test_thinking_in_a_users_text_is_the_users(tmp_path: Path) -> None:
    quoting = {"messages": [{"role": "user", "content": "What is <think>a</think>?"}, ANSWER]}
    (row,) = read_all([Source(path=str(write(tmp_path / "a.jsonl", quoting)))])
    assert row["messages"] == quoting["messages"]


def test_mode_that_nobody_named_is_known_to_be_inferred(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", THOUGHT, {**THOUGHT, "mode": "reasoning"})
    assert [record.is_mode_inferred for record in read_records(Source(path=str(path)))] == [True, False]
    assert not any(record.is_mode_inferred for record in read_records(Source(path=str(path), mode="reasoning")))


def test_mode_is_inferred_from_the_last_response_and_of_a_prompt_from_what_it_quotes(tmp_path: Path) -> None:
    earlier = {"messages": [*THOUGHT["messages"], *DIRECT["messages"]]}
    calling = {"role": "assistant", "reasoning_content": "t", "tool_calls": [{"name": "f", "arguments": {}}]}
    with_tool = {"messages": [QUESTION, calling, {"role": "tool", "content": "11"}, ANSWER]}
    prompt = {"messages": [*THOUGHT["messages"], QUESTION]}
    path = write(tmp_path / "a.jsonl", earlier, with_tool, prompt, {"messages": [QUESTION]})
    modes = [row["mode"] for row in read_all([Source(path=str(path))])]
    assert modes == ["non_reasoning", "reasoning", "reasoning", "non_reasoning"]


def test_rows_keep_their_columns_and_get_a_mode(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {**DIRECT, "answer": "11", "steps": 1}, THOUGHT)
    assert read_all([Source(path=str(path))]) == [
        {**DIRECT, "answer": "11", "steps": 1, "mode": "non_reasoning"},
        {**THOUGHT, "mode": "reasoning"},
    ]


def test_mode_is_the_rows_then_the_sources_then_what_the_messages_show(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {**THOUGHT, "mode": "non_reasoning"}, DIRECT, {**DIRECT, "mode": None})
    modes = [row["mode"] for row in read_all([Source(path=str(path), mode="reasoning")])]
    assert modes == ["non_reasoning", "reasoning", "reasoning"]
    modes = [row["mode"] for row in read_all([Source(path=str(path))])]
    assert modes == ["non_reasoning", "non_reasoning", "non_reasoning"]


def test_domain_and_language_of_the_source_fill_gaps_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {**DIRECT, "domain": "code"}, {**DIRECT, "language": None}, DIRECT)
    rows = read_all([Source(path=str(path), domain="math", language="ko")])
    assert [(row["domain"], row["language"]) for row in rows] == [("code", "ko"), ("math", "ko"), ("math", "ko")]
    assert not {"domain", "language"} & read_all([Source(path=str(path))])[2].keys()


def test_parquet_and_jsonl_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{**THOUGHT, "answer": "11", "mode": "reasoning"}, {**THOUGHT, "answer": "12", "mode": "reasoning"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    write(tmp_path / "a.jsonl", *rows)
    assert read_all([Source(path=str(tmp_path / "a.parquet"))]) == rows
    assert read_all([Source(path=str(tmp_path / "a.jsonl"))]) == rows


def test_columns_that_parquet_fills_with_null_count_as_absent(tmp_path: Path) -> None:
    rows = [{**THOUGHT, "domain": None, "mode": None}, {**DIRECT, "domain": "code", "mode": "non_reasoning"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    first, second = read_all([Source(path=str(tmp_path / "a.parquet"), domain="math")])
    assert (first["mode"], first["domain"]) == ("reasoning", "math")
    assert (second["mode"], second["domain"]) == ("non_reasoning", "code")


def test_blank_lines_are_skipped_and_still_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", DIRECT)
    path.write_text("\n" + path.read_text() + "  \n" + "{\n")
    assert f"{path}:4: not valid JSON" in refusal(path)
    path.write_text("\n" + json.dumps(DIRECT) + "\n\n")
    assert len(read_all([Source(path=str(path))])) == 1


def test_line_separators_inside_a_text_do_not_cut_the_line(tmp_path: Path) -> None:
    odd = {"messages": [{"role": "user", "content": "a\u2028b\x85c\rd"}]}
    (row,) = read_all([Source(path=str(write(tmp_path / "a.jsonl", odd)))])
    assert row["messages"] == odd["messages"]


def test_message_without_text_is_fine_where_it_calls_a_tool(tmp_path: Path) -> None:
    calling = {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {}}]}
    (row,) = read_all([Source(path=str(write(tmp_path / "a.jsonl", {"messages": [QUESTION, calling]})))])
    assert row["messages"][1] == {key: value for key, value in calling.items() if key != "content"}


def test_all_sources_come_one_after_the_other(tmp_path: Path) -> None:
    sources = [Source(path=str(write(tmp_path / f"{name}.jsonl", {**DIRECT, "id": name}))) for name in "ba"]
    assert [row["id"] for row in read_all(sources)] == ["b", "a"]
    assert source_files(sources) == [tmp_path / "b.jsonl", tmp_path / "a.jsonl"]


def test_prompt_is_what_stands_before_the_models_last_turn() -> None:
    assert split_prompt(DIRECT) == [QUESTION]
    assert split_prompt({"messages": [QUESTION]}) == [QUESTION]
    turns = [QUESTION, {"role": "assistant", "content": "a"}, QUESTION]
    assert split_prompt({"messages": turns}) == turns


# --- what is refused ---


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.jsonl"
    assert "does not exist" in refusal(path)
    with pytest.raises(UserError, match=r"no\.jsonl' does not exist; mend the path"):
        source_files([Source(path=str(write(tmp_path / "a.jsonl", DIRECT))), Source(path=str(path))])


def test_other_endings_are_refused(tmp_path: Path) -> None:
    assert "the ending '.csv'; use .jsonl, " in refusal(write(tmp_path / "a.csv", DIRECT))


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_file_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    assert "holds no rows" in refusal(path)


def test_text_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", DIRECT)
    path.write_bytes(path.read_bytes() + '{"messages": "정답"}\n'.encode("euc-kr"))
    assert f"{path}:2: not UTF-8" in refusal(path)


def test_broken_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and no more")
    assert "cannot be read as Parquet" in refusal(path)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"text": "a", "label": 1}, "no messages (found columns ['label', 'text'])"),
        ({"messages": []}, "no messages"),
        ({"messages": "hello"}, "no messages"),
        ([DIRECT], "no messages (found a list)"),
        (7, "no messages (found a int)"),
        ({"messages": [{"content": "a"}]}, "message 0 has no role"),
        ({"messages": ["a"]}, "message 0 has no role"),
        ({"messages": [QUESTION, {"role": "assistant"}]}, "message 1 (assistant) has no text under `content`"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "message 0 (user) has no text"),
        (
            {"messages": [QUESTION, {**ANSWER, "reasoning_content": ["t"]}]},
            "message 1 (assistant) has no text",
        ),
        (
            {"messages": [QUESTION, {**ANSWER, "content": "<think>4+7"}]},
            "<think> at the start of an",
        ),
        ({"messages": [QUESTION, ANSWER], "tools": "{"}, "`tools` should be JSON"),
        ({**DIRECT, "mode": "fast"}, "mode is 'fast'; it must be one of reasoning, non_reasoning"),
    ],
)
def test_unusable_row_is_named_with_file_and_line(tmp_path: Path, row: Any, problem: str) -> None:
    path = write(tmp_path / "a.jsonl", DIRECT, row)
    message = refusal(path)
    assert message.startswith(f"{path}:2: ")
    assert problem in message


def test_all_unusable_rows_are_counted_and_the_first_twenty_named(tmp_path: Path) -> None:
    rows = [{"messages": [QUESTION, ANSWER]}] + [{"messages": None}] * 25
    sources = [Source(path=str(write(tmp_path / name, *rows))) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(UserError) as refused:
        read_all(sources)
    places = refused.value.details
    assert str(refused.value) == "50 of 52 rows cannot be used; mend them or take them out:"
    assert [place.split(": ")[0] for place in places[:20]] == [f"{tmp_path}/a.jsonl:{line}" for line in range(2, 22)]
    assert places[20:] == ["... and 30 more"]


@pytest.mark.parametrize("content", ["", "  \n"])
def test_empty_question_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": [{"role": "user", "content": content}, ANSWER]})
    with pytest.raises(UserError, match=r"a\.jsonl:1: message 0 \(user\) is empty"):
        read_all([Source(path=str(path))])


def test_place_of_a_row_counts_over_all_sources(tmp_path: Path) -> None:
    row = {"messages": [QUESTION, ANSWER]}
    sources = [
        Source(path=str(write(tmp_path / "a.jsonl", row, row))),
        Source(path=str(write(tmp_path / "b.jsonl", row, row))),
    ]
    assert [place_of(sources, number) for number in (0, 3)] == [f"{tmp_path}/a.jsonl:1", f"{tmp_path}/b.jsonl:2"]
