"""Which used folders a run may begin or go on in."""

from pathlib import Path

import pytest

from posttrain.run_folder.manifest import sha256_of
from tests.run_folder.conftest import RECIPE, manifest, python, refusal, started, stopped


def test_folder_with_foreign_files_is_refused_and_left_alone(folder: Path, data: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    for resume in (False, True):
        message = refusal(folder, data, resume=resume)
        assert "thesis.txt" in message
        assert "run=" in message
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_file_in_the_folders_place_is_refused(folder: Path, data: Path) -> None:
    folder.parent.mkdir()
    folder.touch()
    assert "is a file" in refusal(folder, data)


def test_empty_folder_starts_also_with_resume(folder: Path, data: Path) -> None:
    folder.mkdir(parents=True)
    with started(folder, data, resume=True):
        assert manifest(folder)["resumed"] == []


def test_finished_run_is_always_refused(folder: Path, data: Path) -> None:
    with started(folder, data):
        pass
    for resume in (False, True):
        message = refusal(folder, data, resume=resume)
        assert "already finished" in message
        assert "run=" in message


def test_only_a_run_that_is_taken_up_tells_where_it_goes_on(folder: Path, data: Path) -> None:
    layout = {"world_size": 1, "sharding": None}
    with started(folder.with_name("new"), data, resume=True) as run:
        assert run.choose_checkpoint(layout).notices == []
    stopped(folder, data)
    with started(folder, data, resume=True) as run:
        assert run.choose_checkpoint(layout).notices == ["there is no whole checkpoint: beginning again"]


def test_unfinished_run_is_refused_with_a_word_on_resume(folder: Path, data: Path) -> None:
    stopped(folder, data)
    message = refusal(folder, data)
    assert "interrupted" in message
    assert "--resume" in message


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("recipe", "key", "old", "new"),
    [
        (RECIPE.replace("seed: 3", "seed: 4"), "seed", "3", "4"),
        (RECIPE.replace("1.0e-06", "1.0e-05"), "trainer.learning_rate", "1e-06", "1e-05"),
        (RECIPE + "  max_steps: 5\n", "trainer.max_steps", "None", "5"),
        (RECIPE.replace("trainer:\n  learning_rate: 1.0e-06\n", ""), "trainer", "{'learning_rate': 1e-06}", "None"),
    ],
)
def test_changed_recipe_names_the_first_key_and_both_values(
    folder: Path, data: Path, resume: bool, recipe: str, key: str, old: str, new: str
) -> None:
    stopped(folder, data)
    message = refusal(folder, data, recipe_yaml=recipe, resume=resume)
    assert f"{key} was {old} and is now {new};" in message
    assert message.endswith("or go on all the same with --resume-anyway")


def test_changed_data_is_refused_by_name(folder: Path, data: Path) -> None:
    stopped(folder, data)
    data.write_text('{"a": 2}\n')
    assert f"{data} has changed since" in refusal(folder, data, resume=True)


def test_changed_template_is_refused(folder: Path, data: Path) -> None:
    stopped(folder, data)
    assert "chat template has changed" in refusal(folder, data, template="hello", resume=True)


def test_every_difference_is_named_and_with_anyway_it_is_written_down(folder: Path, data: Path) -> None:
    stopped(folder, data)
    data.write_text('{"a": 2}\n')
    other = RECIPE.replace("seed: 3", "seed: 4").replace("1.0e-06", "0.1")
    message = refusal(folder, data, recipe_yaml=other, template="hello", resume=True)
    for part in (
        "seed was 3 and is now 4; ",
        "learning_rate was 1e-06 and is now 0.1; ",
        f"{data} has changed",
        "template",
    ):
        assert part in message
    run = started(folder, data, recipe_yaml=other, template="hello", resume="anyway")
    assert len(manifest(folder)["resumed"][-1]["despite"]) == 4
    del run  # as when its process dies
    with started(folder, data, recipe_yaml=other, template="hello", resume=True):  # from now on this is the run
        assert manifest(folder)["data"] == {data.as_posix(): sha256_of(data)}
        assert "despite" not in manifest(folder)["resumed"][-1]


def test_damaged_manifest_is_refused(folder: Path, data: Path) -> None:
    stopped(folder, data)
    (folder / "manifest.json").write_text("{")
    assert "manifest.json is not JSON" in refusal(folder, data, resume=True)
    (folder / "manifest.json").write_text("{}")
    assert "not the manifest of a run" in refusal(folder, data, resume=True)


def test_missing_recipe_in_a_used_folder_is_refused(folder: Path, data: Path) -> None:
    stopped(folder, data)
    (folder / "metrics.jsonl").touch()
    (folder / "recipe.yaml").unlink()
    assert "recipe.yaml cannot be read" in refusal(folder, data, resume=True)


def test_folder_with_a_manifest_alone_starts_afresh(folder: Path, data: Path) -> None:
    stopped(folder, data)
    (folder / "recipe.yaml").unlink()
    (folder / ".manifest.json.17.aside").write_text("{")
    with started(folder, data, recipe_yaml="stage: rl\n"):
        assert manifest(folder)["resumed"] == []


@pytest.mark.fault(26, "two runs in one folder", stage="all")
def test_run_in_use_is_refused_until_it_ends(folder: Path, data: Path) -> None:
    code = """
        import pathlib, sys
        from posttrain.runs import Run
        folder, data, recipe = sys.argv[1:]
        Run.start(folder, "sft", recipe, 3, [pathlib.Path(data)], "hi", True, is_main=True)
    """
    run = started(folder, data)
    second = python(code, folder, data, RECIPE)
    assert "in use by another process" in second.stderr
    assert manifest(folder)["resumed"] == []
    del run  # as when its process dies
    assert python(code, folder, data, RECIPE).returncode == 0
    assert len(manifest(folder)["resumed"]) == 1
