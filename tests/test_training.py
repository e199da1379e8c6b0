from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from posttrain import training
from posttrain.errors import UserError
from posttrain.recipe import ModelSection
from posttrain.training import (
    MetricsLines,
    ProgressLines,
    fixed_arguments,
    lora_config,
    require_steps,
    samples_per_step,
    with_defaults,
)

Metrics = list[tuple[int, dict[str, float]]]


class Folder:
    """The part of a run that callbacks see."""

    def __init__(self, *, is_main: bool = True) -> None:
        self.is_main = is_main
        self.folder = Path("runs/sft")
        self.metrics: Metrics = []

    def append_metrics(self, step: int, values: dict[str, float]) -> None:
        self.metrics.append((step, values))


def state(step: int, steps: int = 100) -> Any:
    return SimpleNamespace(global_step=step, max_steps=steps)


# --- settings ---


@pytest.mark.parametrize(
    ("dtype", "bf16", "fp16"), [("float32", False, False), ("bfloat16", True, False), ("float16", False, True)]
)
def test_trainer_computes_in_the_models_dtype(dtype: Any, bf16: bool, fp16: bool) -> None:
    fixed = fixed_arguments("runs/a", ModelSection(path="m", dtype=dtype), 7)
    assert (fixed["bf16"], fixed["fp16"]) == (bf16, fp16)
    assert fixed["output_dir"] == "runs/a/checkpoints"
    assert fixed["seed"] == 7


def test_recipe_wins_over_the_stage_and_the_stage_over_the_common_defaults() -> None:
    assert with_defaults({})["logging_steps"] == 10
    assert with_defaults({}, logging_steps=1)["logging_steps"] == 1
    assert with_defaults({"logging_steps": 5, "weight_decay": 0.1}, logging_steps=1)["logging_steps"] == 5
    assert with_defaults({"weight_decay": 0.1})["weight_decay"] == 0.1


def test_losses_that_are_not_finite_are_logged_as_they_are() -> None:
    """The library's default shows the last good loss instead, and hides the moment a run broke."""
    assert with_defaults({})["logging_nan_inf_filter"] is False


def test_no_lora_section_is_no_lora_and_a_wrong_key_is_named() -> None:
    assert lora_config(None) is None
    config = lora_config({"r": 4, "target_modules": ["q_proj"]})
    assert (config.r, config.target_modules, config.task_type) == (4, {"q_proj"}, "CAUSAL_LM")
    with pytest.raises(UserError, match="lora: unknown key 'alpha', did you mean 'lora_alpha'"):
        lora_config({"alpha": 8})
    with pytest.raises(UserError, match=r"lora\.task_type"):
        lora_config({"task_type": "SEQ_CLS"})


def test_samples_of_a_step_are_those_of_every_process_and_micro_batch() -> None:
    arguments = SimpleNamespace(per_device_train_batch_size=3, gradient_accumulation_steps=4, world_size=2)
    assert samples_per_step(arguments) == 24


def test_data_that_fills_no_step_is_refused() -> None:
    require_steps(8, 8, "rows")
    with pytest.raises(UserError, match="got 7 rows, one step takes 8; give more data or a smaller batch"):
        require_steps(7, 8, "rows")


# --- metrics ---


def test_numbers_of_a_log_become_a_line_and_the_summary_does_not() -> None:
    run = Folder()
    lines = MetricsLines(run)  # type: ignore[arg-type]
    lines.on_log(None, state(3), None, logs={"loss": 0.5, "groups": 2, "note": "text", "flag": True})
    lines.on_log(None, state(9), None, logs={"train_runtime": 5.0, "train_loss": 0.1})
    lines.on_log(None, state(9), None, logs=None)
    assert run.metrics == [(3, {"loss": 0.5, "groups": 2.0, "flag": 1.0})]


# --- progress ---


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds; the test sets them."""
    now = [0.0]
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def progress(clock: list[float], steps: list[tuple[float, int]], *, first: int = 0, is_main: bool = True) -> None:
    lines = ProgressLines(Folder(is_main=is_main))  # type: ignore[arg-type]
    lines.on_train_begin(None, state(first), None)
    for clock[0], step in steps:
        lines.on_log(None, state(step), None, logs={"loss": 0.12345, "grad_norm": 9.0, "tokens/ratio": 1.5})


def test_line_says_step_time_left_and_the_figures_worth_watching(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress(clock, [(10.0, 10)])  # ten steps in 10 s, ninety to go
    assert capsys.readouterr().out == "  sft  10/100  1:30 left  loss 0.123  tokens/ratio 1.5\n"


def test_time_left_of_a_resumed_run_counts_its_own_steps(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress(clock, [(10.0, 60)], first=50)
    assert "60/100  0:40 left" in capsys.readouterr().out


def test_lines_come_every_few_seconds_and_at_the_end(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress(clock, [(1.0, 1), (5.5, 20), (6.0, 30), (9.0, 40), (11.0, 50), (11.1, 100)])
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["20/100", "50/100", "100/100"]


def test_only_the_main_process_speaks(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress(clock, [(10.0, 100)], is_main=False)
    assert capsys.readouterr().out == ""


# --- what must hold before the first step ---


@pytest.mark.parametrize("name", ["cp_size", "sp_size"])
def test_sequences_are_not_split_over_processes(name: str) -> None:
    from accelerate import ParallelismConfig

    from posttrain.models.probe import require_whole_sequences

    with pytest.raises(UserError, match=rf"{name}: got 2, need 1: .* windows and packed documents.*shard"):
        require_whole_sequences(ParallelismConfig(**{name: 2}))
    require_whole_sequences(ParallelismConfig(dp_shard_size=2))
    require_whole_sequences(None)


def test_reasons_against_ulysses_still_hold() -> None:
    """Where one of these fails, sequence parallelism may have become right: look again."""
    import inspect

    from accelerate.utils import DeepSpeedSequenceParallelConfig
    from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF, UlyssesSPDataLoaderAdapter
    from transformers.integrations.deepspeed import deepspeed_sp_compute_loss

    loader = inspect.getsource(UlyssesSPDataLoaderAdapter)
    assert 'labels = batch.pop("labels")' in loader
    assert 'batch["shift_labels"] = labels[..., 1:]' in loader
    assert "num_items_in_batch" not in inspect.signature(deepspeed_sp_compute_loss).parameters
    assert "attention_mask = None" in inspect.getsource(UlyssesSPAttentionHF.register_with_transformers)
    with pytest.raises(ValueError, match="sp_attn_implementation: segments"):  # ours would take windows and documents
        DeepSpeedSequenceParallelConfig(sp_attn_implementation="segments")


def test_activations_are_not_offloaded_from_the_host_to_the_host() -> None:
    """Upstream fails there with an AttributeError."""
    import torch
    from trl.models.activation_offloading import OffloadActivations

    from posttrain.training import with_defaults

    if torch.cuda.is_available():
        pytest.skip("there is a device to offload from")
    with pytest.raises(UserError, match=r"activation_offloading is on, but there is no GPU.*gradient_checkpointing"):
        with_defaults({"activation_offloading": True})
    with pytest.raises(AttributeError):
        OffloadActivations()


def test_training_does_not_begin_with_windows_that_are_ignored(
    tokenizer: Any, tiny_shape: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an attention kernel without windows would: the layers say they slide and see everything."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from posttrain.models.build import build_model
    from posttrain.runs import Run

    model = build_model(tiny_shape, tokenizer, seed=0)
    everything: Any = lambda window: lambda *index: index[2] >= 0  # noqa: E731
    monkeypatch.setattr("transformers.masking_utils.sliding_window_overlay", everything)
    arguments = TrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to="none", max_steps=1)
    rows = Dataset.from_list([{"input_ids": [5, 6], "labels": [5, 6]}])
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    with (
        Run.start(tmp_path / "run", "sft", "stage: sft", 0, [], None, False, is_main=True) as run,
        pytest.raises(UserError, match="layers 0, 1, 2 see everything, need 16"),
    ):
        training.train(trainer, run, resume=False)
    assert trainer.state.global_step == 0
