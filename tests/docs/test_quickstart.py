"""docs/quickstart.md, followed to the letter: every file written as it stands, every command run, in order."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain import cli
from tests.docs.markdown import PROJECT, blocks, commands_of, words
from tests.docs.metrics_page import unnamed

pytestmark = pytest.mark.slow
ELSEWHERE = {
    "make setup": "this test runs in what it made",
    ". .venv/bin/activate": "the same",
    "make demo": "eleven minutes; its steps have tests/demo and tests/end_to_end",
    "posttrain doctor": "tests/doctor",
    "mkdir mine": "the working directory of this test",
    "cd mine": "the same",
}


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """The page's folder after its last step, beside the model that the demo would have written."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(model_folder, project / "runs" / "demo" / "base")
    mine = project / "mine"
    mine.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(mine)
        patch.syspath_prepend(str(mine))
        for block in blocks(PROJECT / "docs" / "quickstart.md"):
            if block.language == "bash":
                for command in commands_of(block.text):
                    if command not in ELSEWHERE:
                        run(command)
            else:
                assert block.file, f"no name for the file {block.text!r}"
                Path(block.file).write_text(block.text, encoding="utf-8")
    return mine


def run(command: str) -> None:
    """One command of the page, `posttrain` in this process."""
    program, *arguments = words(command)
    if program == "posttrain":
        assert cli.main(arguments) == 0, command
    else:
        assert program == "python"
        subprocess.run([sys.executable, *arguments], check=True, env={**os.environ, "PYTHONPATH": str(PROJECT)})


def test_every_step_leaves_what_the_page_says(mine: Path) -> None:
    for name in ("sft", "rl", "eval"):
        assert json.loads((mine / "runs" / name / "manifest.json").read_text())["status"] == "finished"
    assert {"config.json", "model.safetensors", "chat_template.jinja"} <= {
        file.name for file in (mine / "runs" / "sft" / "model").iterdir()
    }
    samples = [json.loads(line) for line in (mine / "runs" / "rl" / "samples.jsonl").read_text().splitlines()]
    assert all(sample["verdicts"]["last_line"]["reason"] for sample in samples if not sample["outcome"])
    assert "RL" in (mine / "runs" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_every_figure_that_is_logged_is_explained_in_the_docs(mine: Path, stage: str) -> None:
    assert unnamed(mine / "runs" / stage, stage) == []
