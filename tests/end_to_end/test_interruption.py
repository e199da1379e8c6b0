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

RL = (
    "rewards=[{use: 'even:even'}]",
    "trainer.num_generations=4",
    "trainer.per_device_train_batch_size=4",
    "trainer.max_completion_length=24",
    "trainer.save_steps=2",
    "trainer.save_total_limit=100",
    "trainer.report_to=none",
    "model.path=${root}/base",
)
SETTINGS = {
    "sft": (
        "trainer.per_device_train_batch_size=4",
        "trainer.max_steps=120",
        "trainer.save_steps=20",
        "trainer.logging_steps=10",
        "trainer.save_total_limit=100",
        "trainer.report_to=none",
    ),
    # Two optimizer steps a generation, and on into the second epoch.
    "rl": (
        *RL,
        "engine=transformers",
        "trainer.gradient_accumulation_steps=1",
        "trainer.steps_per_generation=2",
        "trainer.max_steps=52",
        "trainer.save_steps=3",
    ),
    "rl-vllm": (*RL, "engine=vllm", "trainer.gradient_accumulation_steps=2", "trainer.max_steps=8"),
}


def stop(process: subprocess.Popen[str], run: Path, how: signal.Signals) -> tuple[int, str]:
    """Send the signal after the next whole checkpoint; exit code and stderr."""
    before = checkpoints(run)
    while checkpoints(run) <= before:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def checkpoints(run: Path) -> set[Path]:
    return set(run.glob("checkpoints/checkpoint-*/trainer_state.json"))


def manifest(run: Path) -> dict[str, Any]:
    return json.loads((run / "manifest.json").read_text())


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines without what a clock says, and without TRL's own count of tokens, which starts anew at a resume."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clocks = ("time", "step_time", "seconds/", "num_tokens")
    return [{key: value for key, value in line.items() if not key.startswith(clocks)} for line in lines]


def weights(run: Path) -> list[torch.Tensor]:
    return [weight.detach() for weight in AutoModelForCausalLM.from_pretrained(run / "model").parameters()]


@pytest.mark.parametrize("case", SETTINGS)
def test_a_run_stopped_by_ctrl_c_and_then_killed_ends_like_one_that_nobody_disturbed(
    case: str, root: Path, start: Start, posttrain: Posttrain
) -> None:
    stage = case.partition("-")[0]
    code, _, err = posttrain(stage, stage, f"run={case}-whole", *SETTINGS[case])
    assert code == 0, err
    run, whole = root / f"{case}-stopped", root / f"{case}-whole"
    words = (stage, stage, f"run={run.name}", *SETTINGS[case])

    code, err = stop(start(*words), run, signal.SIGINT)
    assert code == 130
    assert err.startswith("interrupted: ")
    assert err.count("\n") == 1
    assert manifest(run)["status"] == "interrupted"

    code, _ = stop(start(*words, "--resume"), run, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert manifest(run)["status"] == "running"
    assert not (run / "model").exists()

    written = {path: path.stat().st_mtime_ns for path in checkpoints(run)}
    code, _, err = posttrain(*words, "--resume")
    assert code == 0, err
    assert manifest(run)["status"] == "finished"
    assert len(written) < len(checkpoints(run))
    assert written == {path: path.stat().st_mtime_ns for path in written}  # no step of theirs was made again
    assert len(manifest(run)["resumed"]) == 2
    assert metrics(run) == metrics(whole)
    assert all(torch.equal(got, expected) for got, expected in zip(weights(run), weights(whole), strict=True))
