"""A run that was stopped goes on with --resume and ends exactly where an undisturbed one does."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.slow
Posttrain = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]

SETTINGS = {
    "sft": (
        "trainer.per_device_train_batch_size=4",
        "trainer.max_steps=120",
        "trainer.save_steps=20",
        "trainer.logging_steps=10",
        "trainer.report_to=none",
    ),
    # One optimizer step a generation: every checkpoint lies between two generations, so nothing half-used is lost.
    "rl": (
        "engine=transformers",
        "rewards=[{use: 'even:even'}]",
        "trainer.num_generations=4",
        "trainer.per_device_train_batch_size=4",
        "trainer.gradient_accumulation_steps=2",
        "trainer.max_completion_length=24",
        "trainer.max_steps=12",
        "trainer.save_steps=2",
        "trainer.report_to=none",
        "model.path=${root}/base",
    ),
}


@pytest.fixture(scope="module", params=list(SETTINGS))
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(stage: str, root: Path, posttrain: Posttrain) -> Path:
    """The run that nobody disturbs."""
    code, _, err = posttrain(stage, stage, f"run={stage}-whole", *SETTINGS[stage])
    assert code == 0, err
    return root / f"{stage}-whole"


def stop(start: Start, stage: str, run: Path, how: signal.Signals) -> tuple[int, str]:
    """Begin, wait for the first whole checkpoint, send the signal; exit code and stderr."""
    process = start(stage, stage, f"run={run.name}", *SETTINGS[stage])
    while not list(run.glob("checkpoints/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def manifest(run: Path) -> dict[str, Any]:
    return json.loads((run / "manifest.json").read_text())


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not is_time(key)} for line in lines]


def is_time(key: str) -> bool:
    return key.startswith(("time", "seconds", "step_time"))


def weights(run: Path) -> list[torch.Tensor]:
    return [weight.detach() for weight in AutoModelForCausalLM.from_pretrained(run / "model").parameters()]


def resume(posttrain: Posttrain, stage: str, run: Path) -> None:
    code, _, err = posttrain(stage, stage, f"run={run.name}", *SETTINGS[stage], "--resume")
    assert code == 0, err


def assert_same_run(run: Path, whole: Path) -> None:
    assert manifest(run)["status"] == "finished"
    assert len(manifest(run)["resumed"]) == 1
    assert metrics(run) == metrics(whole)
    assert all(torch.equal(got, expected) for got, expected in zip(weights(run), weights(whole), strict=True))


def test_interrupted_run_says_so_and_resumes_exactly(
    stage: str, whole: Path, root: Path, start: Start, posttrain: Posttrain
) -> None:
    run = root / f"{stage}-interrupted"
    code, err = stop(start, stage, run, signal.SIGINT)
    assert code == 130
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert "Traceback" not in err
    assert manifest(run)["status"] == "interrupted"
    assert not (run / "model").exists()
    resume(posttrain, stage, run)
    assert_same_run(run, whole)


def test_killed_run_resumes_exactly(stage: str, whole: Path, root: Path, start: Start, posttrain: Posttrain) -> None:
    run = root / f"{stage}-killed"
    code, _ = stop(start, stage, run, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert manifest(run)["status"] == "running"
    resume(posttrain, stage, run)
    assert_same_run(run, whole)
