"""`posttrain rewards new` writes a reward whose own test passes, and never over anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rewards
from posttrain import cli

ROOT = Path(rewards.__file__).parents[1]


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder, with this checkout behind it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_reward_passes_its_own_test_and_a_check_against_rows(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["rewards", "new", "house_style"]) == 0
    said = capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["house_style.py", "test_house_style.py"]
    assert "my_reward" not in "".join(path.read_text() for path in folder.iterdir())
    assert '    - {use: "house_style:house_style"}' in said

    tested = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_house_style.py")
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout

    (folder / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "3*4?"}], "answer": "12"}\n')
    checked = python(
        folder, "-m", "posttrain", "rewards", "check", "use=house_style:house_style", "data=rows.jsonl", "workers=1"
    )
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_in_a_checkout_it_goes_to_the_package_and_its_tests(folder: Path) -> None:
    for part in ("rewards", "tests/rewards"):
        (folder / part).mkdir(parents=True)
    for part in ("__init__.py", "contract.py"):
        (folder / "rewards" / part).write_text((ROOT / "rewards" / part).read_text())
    done = python(folder, "-m", "posttrain", "rewards", "new", "house_style")
    assert done.returncode == 0, done.stderr
    assert '    - {use: "rewards.house_style:house_style"}' in done.stdout
    tested = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "tests/rewards")
    assert tested.returncode == 0, tested.stdout


@pytest.mark.parametrize("name", ["My", "1st", "my-reward", "_mine", "class", "match", "../up", "", "test_it", "json"])
def test_name_that_no_module_should_have_is_refused(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["rewards", "new", name]) == 2
    assert f"got {name!r}" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("taken", ["house_style.py", "test_house_style.py"])
def test_nothing_is_overwritten(folder: Path, taken: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / taken).write_text("mine")
    assert cli.main(["rewards", "new", "house_style"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == [taken]
    assert (folder / taken).read_text() == "mine"


def test_two_words_are_a_wrong_command_line(folder: Path) -> None:
    with pytest.raises(SystemExit) as refusal:
        cli.main(["rewards", "new", "my", "reward"])
    assert refusal.value.code == 2
