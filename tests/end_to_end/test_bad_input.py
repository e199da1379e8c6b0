"""A user's mistake costs one line and exit code 2, names what is wrong, and touches nothing."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from posttrain import cli

pytestmark = pytest.mark.slow


class Case(NamedTuple):
    stage: str
    override: str
    parts: tuple[str, ...]  # of the message


CASES = {
    "missing data file": Case("sft", "data.sources.0.path=none.jsonl", ("data file 'none.jsonl' does not exist",)),
    "empty data file": Case("sft", "data.sources.0.path=bad/empty.jsonl", ("bad/empty.jsonl", "holds no rows")),
    "row without messages": Case(
        "sft", "data.sources.0.path=bad/rows.jsonl", ("no messages 1 (first", "bad/rows.jsonl:2: ", "['text']")
    ),
    "row that is too long": Case(
        "sft", "data.max_length=20", ("rows cannot be used", "sft_reasoning.jsonl:1: ", "data.max_length is 20")
    ),
    "missing model": Case("sft", "model.path=none", ("no model at 'none'",)),
    "model without chat template": Case("sft", "model.path=bad/mute", ("bad/mute", "chat template")),
    "unknown trainer key": Case("sft", "trainer.learning_rat=1e-3", ("'learning_rat'", "did you mean 'learning_rate'")),
    "trainer value the library refuses": Case("sft", "trainer.optim=adamm", ("trainer: ", "adamm")),
    "used output folder": Case("sft", "run=data", ("data is no run", "choose another run=<folder>")),
    "unknown reward object": Case(
        "rl", "rewards.0.use=rewards.math_answer:math_anser", ("rewards.0.use", "did you mean 'math_answer'?")
    ),
    "batch that holds no whole groups": Case("rl", "trainer.num_generations=7", ("trainer: ", "512", "divisible", "7")),
    "too few prompts for a batch": Case("rl", "data.sources.0.path=bad/one.jsonl", ("got 1 prompts", "one step")),
}


@pytest.fixture(scope="module")
def prepared(root: Path) -> Path:
    """The prepared folder, with input that nothing can be done with."""
    bad = root / "bad"
    shutil.copytree(root / "base", bad / "mute")
    (bad / "mute" / "chat_template.jinja").unlink()
    (bad / "empty.jsonl").write_text("\n")
    row = (root / "data" / "rl.jsonl").read_text().splitlines()[0] + "\n"
    (bad / "one.jsonl").write_text(row)
    (bad / "rows.jsonl").write_text(row + json.dumps({"text": "hello"}) + "\n")
    return root


@pytest.fixture
def untouched(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder as the working directory; no file in it may come, go or change."""
    monkeypatch.chdir(prepared)
    before = content(prepared)
    yield prepared
    assert content(prepared) == before


def content(folder: Path) -> dict[Path, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path: path.read_bytes() for path in files}


def words(case: Case) -> tuple[str, ...]:
    return ("run=new", "model.path=base", case.override)


def assert_is_refusal(case: Case, code: int, out: str, err: str) -> None:
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    for part in case.parts:
        assert part in err


@pytest.mark.parametrize("name", CASES)
def test_mistake_is_named_in_one_line(
    untouched: Path,
    recipe_file: Callable[[str], Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    case = CASES[name]
    code = cli.main([case.stage, str(recipe_file(case.stage)), f"root={untouched}", *words(case)])
    assert_is_refusal(case, code, *capfd.readouterr())


@pytest.mark.parametrize("name", ["row without messages", "unknown reward object"])
def test_a_stage_in_a_process_of_its_own_says_nothing_else(
    untouched: Path, posttrain: Callable[..., Any], name: str
) -> None:
    case = CASES[name]
    assert_is_refusal(case, *posttrain(case.stage, case.stage, *words(case)))
