"""`recipes/data/prepare.py` turns rows as public data sets write them into rows that our rewards can grade."""

import itertools
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.rows import read_all
from posttrain.recipe import Source, parse_hub_path
from rewards.code_tests import CodeTests
from rewards.contract import make_attempt
from rewards.instruction_rules import instruction_rules
from rewards.math_answer import math_answer
from rewards.science_answer import ScienceAnswer

PREPARE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "data" / "prepare.py"))

DAPO = {
    "prompt": [
        {
            "role": "user",
            "content": "Solve the following math problem step by step. The last line of your response should be of the "
            "form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\nWhat is\n\n3 + 4?\n\n"
            'Remember to put your answer on its own line after "Answer:".',
        }
    ],
    "reward_model": {"ground_truth": "7", "style": "rule"},
}
MBPP = {
    "text": "Write a function to double a number.",
    "code": "def double(n):\n    return 2 * n",
    "test_list": ["assert double(3) == 6", "assert double(0) == 0"],
    "test_setup_code": "",
}
ARC = {
    "question": "What do plants breathe in?",
    "choices": {"text": ["sand", "air"], "label": ["1", "2"]},
    "answerKey": "2",
}


@pytest.fixture
def convert(tmp_path: Path) -> Any:
    """The rows as the stages read them from the file that is written."""

    def read_back(kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        path = tmp_path / f"{kind}.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in PREPARE[f"{kind}_rows"](rows)))
        return read_all([Source(path=str(path))])

    return read_back


def test_problem_stands_there_once_and_asks_for_a_box(convert: Any) -> None:
    [row] = convert("math", [DAPO, DAPO])
    assert row["messages"][0]["content"] == "What is\n\n3 + 4?\n\nPut the final answer in \\boxed{}."
    assert math_answer(make_attempt("\\boxed{7}", row)).score == 1


def test_code_passes_with_the_solution_of_the_data_set_alone(convert: Any) -> None:
    [row] = convert("code", [MBPP])
    assert "assert double(3) == 6" in row["messages"][0]["content"]
    grade = CodeTests()
    assert grade(make_attempt(f"```python\n{row['solution']}\n```", row)).score == 1
    assert grade(make_attempt("```python\ndef double(n):\n    return n\n```", row)).score == 0


def test_options_are_lettered_whatever_the_data_set_calls_them(convert: Any) -> None:
    [row] = convert("science", [ARC])
    assert "\nA. sand\nB. air\n" in row["messages"][0]["content"]
    assert ScienceAnswer()(make_attempt("\\boxed{B}", row)).score == 1
    assert ScienceAnswer()(make_attempt("\\boxed{A}", row)).score == 0


def test_rules_are_said_and_graded_and_never_contradict_each_other(convert: Any) -> None:
    question = {"messages": [{"role": "user", "content": "Why is the sky blue at noon?"}]}
    rows = convert("instruction", [question] * 300)
    assert len({tuple(row["instruction_id_list"]) for row in rows}) > 20
    for row in rows:
        assert instruction_rules(make_attempt("Blue, or so.", row)).score in (0, 1)  # None: nobody could keep them
        assert row["messages"][0]["content"].count("\n\n") == len(row["instruction_id_list"])
    said = {words for _, _, words in PREPARE["RULES"]}
    assert len(said) == len(PREPARE["RULES"])


def test_conversations_that_begin_otherwise_or_are_long_are_left_out() -> None:
    system = {"messages": [{"role": "system", "content": "You are a calm assistant."}]}
    long = {"messages": [{"role": "user", "content": "why " * 400}]}
    assert not list(PREPARE["instruction_rows"]([system, long]))


def test_multilingual_rows_are_those_of_three_languages() -> None:
    rows = [{"inputs": "q", "targets": "a", "language_code": code} for code in ("kor", "spa", "eng", "fra")]
    assert [row["language"] for row in PREPARE["multilingual_rows"](rows)] == ["ko", "es", "en"]


def test_every_data_set_is_pinned_to_a_commit() -> None:
    for (name, revision, _, _), _ in PREPARE["WRITES"].values():
        assert parse_hub_path(f"hub:{name}@{revision}")


def test_recipes_read_what_is_written() -> None:
    used = itertools.chain.from_iterable(
        path.read_text(encoding="utf-8").split() for path in (Path(__file__).parents[2] / "recipes").glob("*/*.yaml")
    )
    files = {word.strip("},") for word in used if word.startswith("data/") and ".jsonl" in word and "*" not in word}
    assert files == {f"data/{name}.jsonl" for name in PREPARE["WRITES"]}
