"""Keys that no stage knows, and keys that are missing."""

from pathlib import Path
from typing import Any

import pytest

from posttrain.recipe import (
    load_recipe,
    resolved_yaml,
)
from tests.recipe.examples import DATA, RECIPES, REWARDS, refusal, without, written


@pytest.mark.parametrize(
    ("changed", "unknown", "nearest"),
    [
        ({"trainr": {}}, "trainr", "trainer"),
        ({"model": {"path": "x", "dtyp": "float32"}}, "model.dtyp", "model.dtype"),
        ({"data": {"sources": [{"path": "x"}, {"pth": "y"}]}}, "data.sources.1.pth", "data.sources.1.path"),
        ({"mixer": {"use": "a:b", "arg": {}}}, "mixer.arg", "mixer.args"),
    ],
)
def test_unknown_key_is_refused_with_file_path_and_nearest_key(
    tmp_path: Path, changed: dict[str, Any], unknown: str, nearest: str
) -> None:
    path = written(tmp_path, RECIPES["sft"] | changed)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert f"unknown key {unknown!r}, did you mean {nearest!r}?" in message


def test_unknown_key_without_a_near_one_lists_the_known_ones_and_guesses_nothing(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, RECIPES["sft"] | {"model": {"path": "x", "zzzz": 1}}))
    assert "'model.zzzz'" in message
    assert "path, dtype, attn_implementation, chat_template" in message
    assert "did you mean" not in message


def test_key_of_another_stage_is_unknown(tmp_path: Path) -> None:
    assert "'rewards'" in refusal(written(tmp_path, RECIPES["sft"] | {"rewards": REWARDS}))
    assert "'data.max_length'" in refusal(written(tmp_path, RECIPES["rl"] | {"data": DATA | {"max_length": 3}}))


@pytest.mark.parametrize(
    ("stage", "removed", "named"),
    [
        ("sft", "run", "run"),
        ("sft", "model", "model.path"),
        ("sft", "mixer", "mixer.use"),
        ("rl", "data", "data.sources"),
        ("rl", "rewards", "rewards"),
        ("pairs", "decoding", "decoding.max_new_tokens, decoding.temperature"),
        ("eval", "label", "label"),
        ("report", "title", "title"),
    ],
)
def test_missing_required_key_is_named(tmp_path: Path, stage: str, removed: str, named: str) -> None:
    path = written(tmp_path, without(RECIPES[stage], removed))
    assert refusal(path).startswith(f"{path}: missing {named}; ")


def test_missing_key_inside_a_list_is_named_with_its_place(tmp_path: Path) -> None:
    content = RECIPES["sft"] | {"data": {"sources": [{"path": "x"}, {"weight": 2}]}}
    assert "missing data.sources.1.path;" in refusal(written(tmp_path, content))


def test_evaluation_needs_questions_of_some_kind(tmp_path: Path) -> None:
    bare = without(without(RECIPES["eval"], "data"), "rewards")
    assert "data, benchmarks: got neither" in refusal(written(tmp_path, bare))
    asked = bare | {"benchmarks": [{"use": "demo", "args": {"size": 3}}]}
    assert "rewards: got 1 and no data, which they grade" in refusal(written(tmp_path, asked | {"rewards": REWARDS}))
    recipe = load_recipe(written(tmp_path, asked))
    assert recipe == load_recipe(written(tmp_path, resolved_yaml(recipe), "again.yaml"))
