"""Trainer logs into the run folder, and a plain progress line into the terminal."""

from typing import Any

from transformers import TrainerCallback

from posttrain.runs import Run


class MetricsCallback(TrainerCallback):
    """Every log of a Hugging Face trainer becomes a line of `metrics.jsonl`."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Keep the numbers; the trainer's own summary (`train_runtime`, ...) is not a step's metrics."""
        if logs is None or "train_runtime" in logs:
            return
        numbers = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        self._run.append_metrics(state.global_step, numbers)
