"""Files that are no recipes."""

from pathlib import Path

import pytest

from tests.recipe.examples import RECIPES, refusal, written


def test_folder_in_the_place_of_a_recipe_is_told_with_its_recipes(tmp_path: Path) -> None:
    written(tmp_path, RECIPES["sft"], "b.yaml")
    written(tmp_path, RECIPES["rl"], "a.yaml")
    assert refusal(tmp_path) == f"{tmp_path} is a folder (with a.yaml, b.yaml); pass the path of a recipe"


def test_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    written(tmp_path, RECIPES["sft"], "unified_sft.yaml")
    message = refusal(tmp_path / "unified_stf.yaml")
    assert str(tmp_path / "unified_stf.yaml") in message
    assert "did you mean 'unified_sft.yaml'?" in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("stage: sft\nmodel: {path: x\nrun: y\n", "line 3"),
        ("stage: sft\n\trun: y\n", "line 2"),
        ("stage: sft\nrun: x\nrun: y\n", "duplicate key run"),
        ("stage: sft\nrun: !!python/object:os.system x\n", "line 2"),
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("- sft\n", "a list"),
        ("3\n", "key: value"),
        ("run: x\n", "missing stage"),
        ("stage: sftt\n", "'sftt', did you mean 'sft'?"),
        ("stage: [sft]\n", "['sft']"),
    ],
)
def test_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, part: str) -> None:
    path = written(tmp_path, text)
    message = refusal(path)
    assert message.startswith(str(path))
    assert part in message


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes("stage: sft # größer".encode("latin-1"))
    assert "UTF-8" in refusal(path)


def test_recipe_of_another_stage_names_the_right_command(tmp_path: Path) -> None:
    path = written(tmp_path, RECIPES["rl"])
    message = refusal(path, stage="sft")
    assert f"{path} is for stage rl, the command is sft" in message
    assert f"posttrain rl {path}" in message
