"""What is in the environment, keys above all, is in nothing that a run writes or says."""

import os
from pathlib import Path

import pytest

from tests.faults.mortal import posttrain

pytestmark = pytest.mark.slow

SECRET = "correct-horse-battery-staple"
VARIABLES = {
    name: f"{name}-{SECRET}"
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "MINE")
}


def with_variables() -> None:
    os.environ.update(VARIABLES)


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_no_variable_of_the_environment_is_written_or_said(stage: str, workplace: Path, run_folder: Path) -> None:
    words = (stage, f"{stage}.yaml", f"run={run_folder.name}", "trainer.max_steps=2")
    ended = posttrain(*words, cwd=workplace, before=with_variables)
    assert ended.code == 0, ended.err
    assert SECRET not in ended.out + ended.err
    files = [file for file in run_folder.rglob("*") if file.is_file()]
    assert {"manifest.json", "recipe.yaml", "metrics.jsonl", "training_args.bin"} <= {file.name for file in files}
    for file in files:
        assert SECRET.encode() not in file.read_bytes(), file
