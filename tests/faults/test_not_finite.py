"""Fault 9: a loss that is not a number, for real: its gradient comes out of the backward pass as NaN."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from posttrain.guards import SKIPPED
from posttrain.report.health import findings
from posttrain.report.load import load_stage
from tests.faults.cases import CASES, again, checkpoints, manifest, metrics, weights
from tests.faults.mortal import wrap

pytestmark = pytest.mark.slow

# What gives the loss of a micro-batch, and how often it is called in an optimizer step.
LOSSES = {
    "sft": ("posttrain.sft.trainer:UnifiedSFTTrainer.compute_loss", 2),
    "rl": ("posttrain.rl.trainer:AGAPOTrainer._compute_loss", 1),
    "pref": ("posttrain.preference.trainer:SimPERTrainer.compute_loss", 2),
    "context": ("posttrain.sft.trainer:UnifiedSFTTrainer.compute_loss", 1),
}


def spoil(stage: str, steps: range, rank: str = "0", zero: str | None = None) -> None:
    """Multiply the loss of the first micro-batch of these steps by NaN in one process; `zero`: DeepSpeed's stage."""
    if zero is not None:  # as `accelerate launch` says it
        os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": zero}
        os.environ["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] = "true"
    function, calls_a_step = LOSSES[stage]
    calls = 0

    def spoilt(original: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        step, micro_batch = divmod(calls - 1, calls_a_step)
        loss = original(*args, **kwargs)
        return loss * torch.nan if step + 1 in steps and micro_batch == 0 else loss

    if os.environ.get("RANK", "0") == rank:
        wrap(function, spoilt)


def run_spoilt(stage: str, steps: range, run: Path, processes: int = 1, zero: str | None = None) -> Any:
    before = partial(spoil, stage, steps, str(processes - 1), zero)
    words: tuple[str, ...] = ("trainer.save_steps=1", "trainer.save_total_limit=100")
    if stage == "rl":
        words += ("trainer.steps_per_generation=1", "rewards=[{use: 'tests.faults.wrong_rewards:even'}]")
    return again(stage, run, *words, resume=False, before=before, processes=processes)


def culprits(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "culprits.jsonl").read_text().splitlines()]


def assert_finite(run: Path) -> None:
    """Weights and moments, of the model and of every checkpoint."""
    tensors = [*weights(run).values()] if (run / "model").exists() else []
    for name in checkpoints(run):
        folder = run / "checkpoints" / name
        tensors += load_file(folder / "model.safetensors").values()
        state = torch.load(folder / "optimizer.pt", weights_only=True)["state"]
        tensors += [value for moments in state.values() for value in moments.values()]
    assert all(tensor.isfinite().all() for tensor in tensors)


SPOILT = [
    pytest.param(stage, processes, marks=pytest.mark.fault(9, "a loss is multiplied by NaN", stage=stage))
    for stage, processes in (("sft", 1), ("sft", 2), ("rl", 1), ("rl", 2), ("pref", 1), ("pref", 2), ("context", 1))
]


@pytest.mark.parametrize(("stage", "processes"), SPOILT)
def test_the_update_is_skipped_counted_and_said(stage: str, processes: int, run_folder: Path) -> None:
    run_folder /= CASES[stage].part
    ended = run_spoilt(stage, range(3, 4), run_folder, processes)
    assert ended.code == 0, ended.err
    assert [line["step"] for line in metrics(run_folder) if SKIPPED in line] == [3]
    assert [line["step"] for line in metrics(run_folder) if line["loss"] is None] == [3]
    assert_finite(run_folder)
    of_step = [load_file(run_folder / "checkpoints" / f"checkpoint-{step}" / "model.safetensors") for step in (2, 3, 8)]
    assert all(torch.equal(of_step[0][name], of_step[1][name]) for name in of_step[0])
    assert not all(torch.equal(of_step[1][name], of_step[2][name]) for name in of_step[0])
    rows = culprits(run_folder)
    assert {(row["step"], row["rank"], row["loss"]) for row in rows} == {(3, processes - 1, "nan")}
    texts = [row["prompt"] + "".join(row["responses"]) if stage == "pref" else row["text"] for row in rows]
    assert all(texts)
    said = [finding.text for finding in findings(load_stage("run", run_folder, None)) if not finding.is_fine]
    assert any("update skipped" in text and "step 3" in text for text in said)


@pytest.mark.parametrize(("stage", "processes"), SPOILT[::2])
def test_three_in_a_row_stop_the_run_with_their_rows(stage: str, processes: int, run_folder: Path) -> None:
    run_folder /= CASES[stage].part
    ended = run_spoilt(stage, range(3, 99), run_folder, processes)
    assert ended.code == 2
    assert "step 5: the loss is not finite, 3 steps in a row" in ended.err
    assert "culprits.jsonl" in ended.err
    assert manifest(run_folder)["status"] == "failed"
    assert checkpoints(run_folder) == [f"checkpoint-{step}" for step in range(1, 5)]
    assert not (run_folder / "model").exists()
    assert_finite(run_folder)
    assert {row["step"] for row in culprits(run_folder)} == {3, 4, 5}


@pytest.mark.parametrize("zero", ["2", "3"])
@pytest.mark.fault(9, "a loss is multiplied by NaN under DeepSpeed, in one rank", stage="sft")
def test_deepspeed_skips_by_itself_and_is_counted(zero: str, run_folder: Path) -> None:
    """It updates within the backward pass."""
    ended = run_spoilt("sft", range(3, 4), run_folder, processes=2, zero=zero)
    assert ended.code == 0, ended.err
    assert [line["step"] for line in metrics(run_folder) if SKIPPED in line] == [3]
    assert [line["step"] for line in metrics(run_folder) if line["loss"] is None] == [3]
    assert all(weight.isfinite().all() for weight in weights(run_folder).values())
    assert {(row["step"], row["rank"]) for row in culprits(run_folder)} == {(3, 1)}
