"""`posttrain recipes` copies what the package ships, and never over anything."""

from pathlib import Path

import pytest

from posttrain import cli
from posttrain.recipe import SHIPPED, load_recipe

PROJECT = Path(__file__).parents[2]


def files_below(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_all_recipes_are_copied_and_one_of_them_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    assert cli.main(["recipes", str(folder)]) == 0
    assert files_below(folder) == files_below(PROJECT / "recipes")
    assert f"posttrain check {folder}/demo/sft.yaml --config-only" in capsys.readouterr().out
    assert load_recipe(folder / "demo" / "sft.yaml") == load_recipe(SHIPPED / "demo" / "sft.yaml")


@pytest.mark.parametrize(("place", "problem"), [("here", "exists already"), ("file/below", "cannot be written")])
def test_no_folder_is_written_over(
    place: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "file").write_text("mine")
    assert cli.main(["recipes", str(tmp_path / place)]) == 2
    assert problem in capsys.readouterr().err
    assert list((tmp_path / "here").iterdir()) == []
    assert (tmp_path / "file").read_text() == "mine"
