"""The README's reward is run as it stands: its code, its test and its recipe."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import rewards
from posttrain.recipe import GradingSection
from rewards.contract import grades_groups
from rewards.math_answer import math_answer

README = Path(rewards.__file__).with_name("README.md").read_text(encoding="utf-8")


def block(start: str) -> str:
    """The block of code that begins so: its language, and as much of it as tells it from others."""
    (code,) = re.findall(rf"```(?=({start}.*?)```)", README, re.DOTALL)
    return str(code).partition("\n")[2]


def test_the_reward_in_fifteen_lines_passes_its_own_test() -> None:
    scope: dict[str, object] = {}
    exec(compile(block("python\nfrom dataclasses"), "README.md", "exec"), scope)
    tests = [value for name, value in scope.items() if name.startswith("test_") and callable(value)]
    assert tests
    for test in tests:
        test()


def test_the_recipe_names_the_reward_that_the_code_defines() -> None:
    scope: dict[str, object] = {}
    exec(compile(block("python\nfrom dataclasses"), "README.md", "exec"), scope)
    entry = yaml.safe_load(block("yaml\nrewards"))["rewards"][1]
    reward = scope[entry["use"].split(":")[1]]
    assert callable(reward)
    assert reward(**entry["args"])(rewards.make_attempt("Over.", {})).score == 1.0


def test_the_group_reward_finds_the_shortest_answer() -> None:
    scope: dict[str, Any] = {}
    exec(compile(block("python\nfrom collections.abc import Sequence"), "README.md", "exec"), scope)
    assert grades_groups(scope["Briefest"]())
    group = [rewards.make_attempt(answer, {}) for answer in ("It is 4.", "4")]
    assert [verdict.score for verdict in scope["Briefest"]()(group)] == [0.0, 1.0]


def test_the_grading_section_shows_the_defaults() -> None:
    assert yaml.safe_load(block("yaml\ngrading"))["grading"] == vars(GradingSection())


def test_every_reward_of_the_package_is_in_the_table() -> None:
    for path in Path(rewards.__file__).parent.glob("[!_]*.py"):
        assert path.stem == "contract" or f"`rewards.{path.stem}:" in README


MATH_ROWS = [
    [re.findall(r"`(.+?)`", cell) for cell in line.strip("| ").split(" | ")]
    for line in README.partition("## What a math answer may look like")[2].splitlines()
    if line.startswith("| `")
]


@pytest.mark.parametrize(("gold", "right", "wrong"), MATH_ROWS, ids=[row[0][0] for row in MATH_ROWS])
def test_the_table_of_math_answers_says_what_is_so(gold: list[str], right: list[str], wrong: list[str]) -> None:
    for is_right, answers in ((True, right), (False, wrong)):
        for answer in answers:
            verdict = math_answer(rewards.make_attempt(rf"\boxed{{{answer}}}", {"answer": gold[0]}))
            assert verdict.outcome is is_right, answer
