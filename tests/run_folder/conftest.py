"""A run in a folder of its own, and how one is refused."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.runs import (
    Run,
)

RECIPE = "stage: sft\nseed: 3\ntrainer:\n  learning_rate: 1.0e-06\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n')
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


def started(folder: Path, data: Path, *, resume: bool = False, **changed: Any) -> Run:
    settings = {"recipe_yaml": RECIPE, "seed": 3, "data_files": [data], "template": "hi", "is_main": True} | changed
    return Run.start(folder, "sft", resume=resume, **settings)


def stopped(folder: Path, data: Path) -> None:
    """Leave an interrupted run in the folder."""
    with pytest.raises(KeyboardInterrupt), started(folder, data):
        raise KeyboardInterrupt


def refusal(folder: Path, data: Path, **changed: Any) -> str:
    with pytest.raises(UserError) as caught:
        started(folder, data, **changed)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def python(code: str, *args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )
