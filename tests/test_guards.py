"""An update whose loss or gradient is not finite moves nothing, in a plain trainer with AdamW."""

import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from posttrain.errors import UserError
from posttrain.guards import SKIPPED, GuardedTrainer

Break = Callable[[torch.Tensor], torch.Tensor]


class Words(torch.nn.Module):
    """The sum of its weights' squares, or what the test makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, input_ids: torch.Tensor, spoil: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        loss = self.weight.square().sum()
        if spoil.eq(1).any():
            loss = loss * math.nan
        if spoil.eq(2).any():
            loss = loss + math.inf  # a constant: the gradient stays finite
        if spoil.eq(3).any():
            loss = loss + (self.weight - self.weight).abs().sqrt().sum()  # 0, with a gradient of 0 * inf
        return {"loss": loss}


class Tokenizer:
    def decode(self, ids: list[int]) -> str:
        return f"row {ids[0]}"

    def save_pretrained(self, folder: str) -> None:
        """A checkpoint needs no tokenizer here."""


class Guarded(GuardedTrainer, Trainer):
    pass


def trainer(tmp_path: Path, spoil: list[int], **settings: Any) -> Guarded:
    """One row a micro-batch, in order; weight decay and momentum would move weights that have a gradient of zero."""
    rows = [{"input_ids": [index, index], "spoil": kind} for index, kind in enumerate(spoil)]
    defaults = {
        "output_dir": str(tmp_path / "checkpoints"),
        "per_device_train_batch_size": 1,
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.1,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "remove_unused_columns": False,
    }
    arguments = TrainingArguments(**{**defaults, **settings})
    made = Guarded(model=Words(), args=arguments, train_dataset=Dataset.from_list(rows))
    made.processing_class = Tokenizer()
    made.culprits_file = tmp_path / "culprits.jsonl"
    return made


def state_of(made: Guarded) -> list[torch.Tensor]:
    (moments,) = made.optimizer.state.values()
    return [made.model.weight.detach(), moments["exp_avg"], moments["exp_avg_sq"], moments["step"]]


def culprits(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "culprits.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0])
@pytest.mark.parametrize(("kind", "loss"), [(1, None), (2, None), (3, 5.0)])
def test_a_run_with_a_skipped_update_ends_as_one_without_its_row(
    tmp_path: Path, kind: int, loss: float | None, max_grad_norm: float
) -> None:
    spoilt = trainer(tmp_path, [0, 0, kind, 0], max_grad_norm=max_grad_norm)
    spoilt.train()
    whole = trainer(tmp_path, [0, 0, 0], max_grad_norm=max_grad_norm)
    whole.train()
    for got, expected in zip(state_of(spoilt), state_of(whole), strict=True):
        assert torch.equal(got, expected)
    lines = spoilt.state.log_history[:4]
    assert [SKIPPED in line for line in lines] == [False, False, True, False]
    assert [math.isfinite(line["loss"]) for line in lines] == [True, True, loss is not None, True]
    (row,) = culprits(tmp_path)
    assert (row["step"], row["rank"], row["text"]) == (3, 0, "row 2")


def test_only_the_broken_micro_batch_of_a_step_is_kept_and_the_step_is_logged_at_once(tmp_path: Path) -> None:
    made = trainer(tmp_path, [0, 0, 1, 0, 0, 0], gradient_accumulation_steps=2, logging_steps=3)
    made.train()
    assert [row["text"] for row in culprits(tmp_path)] == ["row 2"]
    assert [(line["step"], SKIPPED in line) for line in made.state.log_history[:2]] == [(2, True), (3, False)]


def test_the_third_in_a_row_stops_the_run_before_it_is_saved(tmp_path: Path) -> None:
    made = trainer(tmp_path, [0, 1, 3, 0, 1, 1, 3, 0], save_strategy="steps", save_steps=1)
    with pytest.raises(UserError, match=r"step 7: the gradient is not finite, 3 steps in a row; .*culprits\.jsonl"):
        made.train()
    assert [row["text"] for row in culprits(tmp_path)] == [f"row {index}" for index in (1, 2, 4, 5, 6)]
    assert not (tmp_path / "checkpoints" / "checkpoint-7").exists()
    assert made.model.weight.isfinite().all()


def test_a_resumed_run_counts_on(tmp_path: Path) -> None:
    spoil = [0, 1, 1, 1, 0]
    with pytest.raises(UserError, match=r"step 4: .* 3 steps in a row"):
        trainer(tmp_path, spoil, save_strategy="steps", save_steps=1).train()
    with pytest.raises(UserError, match=r"step 4: .* 3 steps in a row"):
        trainer(tmp_path, spoil).train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-3"))


def test_upstream_asks_for_the_gradient_norm_right_before_the_update() -> None:
    """The tripwire of the hooks: where the update is left out, and that a NaN would stay in upstream's running sum."""
    source = inspect.getsource(Trainer._run_epoch)
    asked, updated = source.index("self._get_grad_norm(model, grad_norm=grad_norm)"), source.index("optimizer.step()")
    assert asked < updated < source.index("model.zero_grad()")
    assert "tr_loss -= tr_loss" in inspect.getsource(Trainer._maybe_log_save_evaluate)
    assert list(inspect.signature(Trainer._get_grad_norm).parameters) == ["self", "model", "grad_norm"]
