"""`recipes/smollm2-135m/prepare.py` writes sums whose responses are right, and whose problems are in one file only."""

import runpy
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rewards.contract import make_attempt
from rewards.language import language
from rewards.math_answer import math_answer

PREPARE: dict[str, Any] = runpy.run_path(
    str(Path(__file__).parents[2] / "recipes" / "smollm2-135m" / "prepare.py"), run_name="prepare"
)


@pytest.fixture(scope="module")
def files() -> dict[str, list[dict[str, Any]]]:
    rng, seen = Random(0), set[str]()
    return {split: list(PREPARE["rows"](split, rng, seen)) for split in PREPARE["ROWS"]}


@pytest.fixture(scope="module")
def responses(files: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [*files["reasoning"], *files["non_reasoning"]]


def test_every_response_is_right_by_the_reward_of_the_recipes(responses: list[dict[str, Any]]) -> None:
    for row in responses:
        assert math_answer(make_attempt(row["messages"][-1]["content"], row)).score == 1


def test_every_sum_of_the_thinking_is_right_and_goes_on_from_the_one_before(
    files: dict[str, list[dict[str, Any]]],
) -> None:
    for row in files["reasoning"]:
        lines = row["messages"][-1]["reasoning_content"].splitlines()
        sums = [line for line in lines if line[0].isdigit()]
        assert len(sums) in ((5,) if row["domain"] == "long_sums" else (3, 4))
        assert all(eval(left) == int(right) for left, right in (line.split(" = ") for line in sums))
        assert [line.split()[0] for line in sums[1:]] == [line.split()[-1] for line in sums[:-1]]
        assert sums[-1].endswith(f" = {row['answer']}")


def test_about_a_quarter_of_the_responses_is_in_the_other_language(responses: list[dict[str, Any]]) -> None:
    verdicts = [language(make_attempt(row["messages"][-1]["content"], row)).score for row in responses]
    assert verdicts.count(None) < 0.01 * len(verdicts)
    assert 0.2 < verdicts.count(0.0) / len(verdicts) < 0.3


def test_problem_is_in_one_file_only(files: dict[str, list[dict[str, Any]]]) -> None:
    questions = [row["messages"][0]["content"] for rows in files.values() for row in rows]
    assert len(set(questions)) == len(questions) == sum(PREPARE["ROWS"].values())


def test_second_stage_asks_both_modes_in_both_languages(files: dict[str, list[dict[str, Any]]]) -> None:
    kinds = {(row["mode"], row["language"]) for row in files["pairs_stage2"]}
    assert len(kinds) == 4
