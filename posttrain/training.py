"""What the three trainers have in common: their fixed arguments, resume, progress and the exported model."""

import time
from copy import deepcopy
from pathlib import Path
from typing import Any

from rich.markup import escape
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from posttrain.alarms import Alarms
from posttrain.environment import leave_process_group
from posttrain.errors import Preempted, UserError
from posttrain.models.load import save_model
from posttrain.models.probe import never_slides, require_whole_sequences, require_window
from posttrain.placement import arithmetic_of
from posttrain.preemption import SaveAndStop
from posttrain.recipe import ModelSection, make_config
from posttrain.runs import GoingOn, Resume, Run, checkpoints_of
from posttrain.saving import layout_of, on_main
from posttrain.terminal import progress_line, say


def fixed_arguments(run_folder: str, model: ModelSection, seed: int) -> dict[str, Any]:
    """Trainer arguments that the recipe says elsewhere; `trainer:` may not repeat them."""
    import torch

    return {
        "output_dir": str(checkpoints_of(run_folder)),
        "seed": seed,
        "bf16": model.dtype == "bfloat16",
        "fp16": model.dtype == "float16",
        "use_cpu": not torch.cuda.is_available(),
        "save_only_model": False,  # such a checkpoint cannot be resumed
        "save_on_each_node": False,  # the main process sees and seals the whole checkpoint
    }


def with_defaults(trainer: dict[str, Any], **stage_defaults: Any) -> dict[str, Any]:
    """The recipe's `trainer:` section over the stage's and our defaults, where they differ from the libraries'.

    TensorBoard needs no account; not-finite losses are logged as they are; gradient checkpointing is a choice.

    Raises:
        UserError: activations are to be offloaded to where they already are.
    """
    import torch

    if trainer.get("activation_offloading") and not torch.cuda.is_available():
        raise UserError(
            "trainer.activation_offloading is on, but there is no GPU whose memory it could spare; leave it out, "
            "and take trainer.gradient_checkpointing"
        )
    defaults = {
        "report_to": ["tensorboard"],
        "logging_nan_inf_filter": False,
        "logging_steps": 10,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "save_total_limit": 2,
        "disable_tqdm": True,
    }
    return {**defaults, **stage_defaults, **trainer}


def lora_config(section: dict[str, Any] | None) -> Any:
    """The `LoraConfig` of the recipe's `lora:` section; None: all weights are trained."""
    if section is None:
        return None
    from peft import LoraConfig

    return make_config(LoraConfig, section, "lora", task_type="CAUSAL_LM")


def train(trainer: Any, run: Run, *, resume: Resume, is_growing: bool = False) -> None:
    """Train, from the newest whole checkpoint when resuming; metrics go to the run folder, progress to the terminal.

    `is_growing`: the model's context may still be shorter than its window, where no layer slides yet.

    Raises:
        UserError: sequences are split over processes, a hybrid model's windows are ignored, or a checkpoint cannot be
            gone on from or cannot be written.
        Preempted: SIGTERM has come, and a checkpoint is written.
    """
    require_whole_sequences(trainer.accelerator.parallelism_config)
    if not _is_sharded(trainer) and not (is_growing and never_slides(trainer.model.config.get_text_config())):
        require_window(trainer.model)
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if not any(isinstance(callback, Alarms) for callback in trainer.callback_handler.callbacks):
        trainer.callback_handler.callbacks.insert(0, Alarms())  # before the trackers: an alarm is a metric, too
    trainer.culprits_file = run.folder / "culprits.jsonl"
    trainer.add_callback(Heartbeat(run))
    trainer.add_callback(MetricsLines(run))
    trainer.add_callback(ProgressLines(run))
    trainer.checkpoint_facts = run.facts()
    checkpoint = _go_on(trainer, run) if resume else None
    run.truncate_metrics(after_step=int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0)
    with SaveAndStop(trainer.accelerator) as preemption:
        trainer.callback_handler.callbacks.insert(0, preemption)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if preemption.has_stopped:
        trainer.accelerator.wait_for_everyone()  # with its part of the checkpoint
        leave_process_group()
        raise Preempted


def _go_on(trainer: Any, run: Run) -> Path | None:
    """The checkpoint to go on from, the same in every process."""
    layout = layout_of(trainer)
    found: GoingOn = on_main(trainer.accelerator, lambda: run.choose_checkpoint(layout))
    if run.is_main:
        for notice in found.notices:
            say(f"  {escape(notice)}")
    return found.checkpoint


def export_model(trainer: Any, tokenizer: Any, run: Run) -> Path:
    """Write `model/`: a folder that plain transformers and plain vLLM load. Adapters are merged; shards are gathered.

    Collective: every process must call it.
    """
    from peft import PeftModel

    model = trainer.accelerator.unwrap_model(trainer.model)
    state_dict = trainer.accelerator.get_state_dict(trainer.model_wrapped) if _is_sharded(trainer) else None
    if run.is_main:
        if isinstance(model, PeftModel):
            whole = model if state_dict is None else _whole_copy(model, state_dict)
            model, state_dict = whole.merge_and_unload(), None
        elif trainer.accelerator.is_fsdp2:  # whose weights are float32 where the recipe says 16 bit
            dtype = arithmetic_of(trainer)
            state_dict = {name: weight.to(dtype) for name, weight in dict(state_dict or {}).items()}
        save_model(model, tokenizer, run.model_dir, state_dict=state_dict)
        say(f"  wrote {escape(str(run.model_dir))}")
    trainer.accelerator.wait_for_everyone()
    return run.model_dir


def _whole_copy(model: Any, state_dict: dict[str, Any]) -> Any:
    """The same model and adapters with gathered weights, on the CPU: an adapter cannot be merged into a shard."""
    from peft import get_peft_model

    base = model.get_base_model()
    whole = type(base)(base.config).to(base.dtype)
    whole.generation_config = base.generation_config
    copy = get_peft_model(whole, deepcopy(model.peft_config[model.active_adapter]))
    copy.load_state_dict(state_dict)
    return copy


def samples_per_step(arguments: Any) -> int:
    """Samples of one optimizer step, over all processes."""
    per_process = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    return int(per_process * arguments.world_size)


def require_steps(num_rows: int, rows_per_step: int, what: str) -> None:
    """Refuse a data set that does not fill one optimizer step.

    Raises:
        UserError: fewer rows than a step takes.
    """
    if num_rows < rows_per_step:
        raise UserError(f"got {num_rows} {what}, one step takes {rows_per_step}; give more data or a smaller batch")


def _is_sharded(trainer: Any) -> bool:
    """Whether a process holds only a part of the weights; ZeRO-1 and 2 shard gradients and optimizer states alone."""
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    return bool(trainer.is_fsdp_enabled or is_deepspeed_zero3_enabled())


class MetricsLines(TrainerCallback):
    """Every log of a trainer becomes a line of `metrics.jsonl`."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Keep the numbers; the trainer's own summary (`train_runtime`, ...) is not a step's metrics."""
        if logs is None or "train_runtime" in logs:
            return
        numbers = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        self._run.append_metrics(state.global_step, numbers)


class Heartbeat(TrainerCallback):
    """A sign of life whenever something is done."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def _beat(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._run.beat(state.global_step)

    on_train_begin = on_substep_end = on_step_end = on_prediction_step = on_save = on_train_end = _beat


class ProgressLines(TrainerCallback):
    """A line every few seconds: step, share done, time left, and the figures worth watching."""

    WATCHED = (
        "loss",
        "eval_loss",
        "tokens/ratio",
        "reward",
        "outcome",
        "groups/mixed",
        "rollout/mismatch_kl",
        "kl",
        "margin",
    )
    SECONDS = 5.0

    def __init__(self, run: Run) -> None:
        self._is_main = run.is_main
        self._stage = run.folder.name
        self._began = self._last = time.monotonic()
        self._first_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._began = self._last = time.monotonic()
        self._first_step = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Print, unless the last line is too fresh."""
        now, is_end = time.monotonic(), state.global_step >= state.max_steps
        if not self._is_main or not logs or "train_runtime" in logs or (now - self._last < self.SECONDS and not is_end):
            return
        self._last = now
        done = state.global_step - self._first_step
        left = (now - self._began) / max(done, 1) * (state.max_steps - state.global_step)
        figures = {key: float(logs[key]) for key in self.WATCHED if key in logs}
        progress_line(self._stage, state.global_step, state.max_steps, left, figures)
