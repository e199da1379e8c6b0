"""Updates that are made whole or not at all: one whose loss or gradient is not finite moves nothing."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, gather_object
from torch import Tensor

from posttrain.errors import UserError
from posttrain.run_folder.files import append_json_lines

SKIPPED = "guard/skipped"  # the metric: 1 at a step whose update was skipped, absent at the others
MAX_SKIPS = 3  # in a row: the third stops the run


class GuardedTrainer:
    """Skips updates that would ruin the weights; to be named before one of transformers' trainers as a base class.

    An update is skipped in all processes when the loss of a micro-batch in any of them, or the gradient, is not finite.
    The optimizer then finds no gradient, and what has none it leaves alone: weights, moments, their step count, weight
    decay. The step counts as made: its rows are not tried again. It is logged at once, and its rows go to
    `culprits.jsonl`. The third in a row stops the run before it can be saved; a resumed run counts on.

    Two skip by themselves, and are only counted here: DeepSpeed, which updates within the backward pass, and the
    gradient scaler of float16, to which an infinite gradient is routine.

    Overridden upstream hooks: `training_step` (the losses), `_get_grad_norm` (the last one before the update), `log`.

    Attributes:
        culprits_file: where the rows of a skipped update go; None: nowhere.
    """

    culprits_file: Path | None = None
    args: Any
    accelerator: Any
    control: Any
    optimizer: Any
    processing_class: Any
    state: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._losses: list[tuple[Tensor, Any]] = []  # of the optimizer step under way, with their micro-batches
        self._skipped: str | None = None  # why, between the skip and its log
        super().__init__(*args, **kwargs)

    def guarded_batch(self, inputs: Any) -> Any:
        """What was just trained, to be shown by `describe_batch`; `inputs` is what `training_step` was given."""
        return inputs

    def describe_batch(self, batch: Any) -> Iterable[Mapping[str, Any]]:
        """The rows of a micro-batch, readable: the text of every `…input_ids` that it has, without the padding."""
        names = [name for name in batch if name.endswith("input_ids")]
        for row in range(len(batch[names[0]])):
            yield {
                name.removesuffix("input_ids") + "text": self.processing_class.decode(_unpadded(batch, name, row))
                for name in names
            }

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Upstream's loss; 0 where it is not finite, as upstream's running sum would never be finite again."""
        loss: Tensor = super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        self._losses.append((loss, self.guarded_batch(inputs)))
        return torch.nan_to_num(loss, nan=0.0, posinf=0.0, neginf=0.0)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        losses, self._losses = self._losses, []
        self._skipped = self._why_not(losses, float(norm))
        if self._skipped:
            self.optimizer.zero_grad(set_to_none=True)
            self.control.should_log = True
            bad = [(loss, batch) for loss, batch in losses if self._skipped == "gradient" or not loss.isfinite()]
            self._keep(bad, float(norm))
        return norm

    def _why_not(self, losses: list[tuple[Tensor, Any]], norm: float) -> str | None:
        """What is not finite, the same in every process; None: the update may be made."""
        is_bad = ~torch.stack([loss for loss, _ in losses]).isfinite().all()
        if bool(self.accelerator.gather(is_bad[None]).any()):
            return "loss"
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:  # its norm may be that of an earlier step
            return "gradient" if self.accelerator.optimizer_step_was_skipped or not math.isfinite(norm) else None
        return "gradient" if self.accelerator.scaler is None and not math.isfinite(norm) else None

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Say that the update was skipped.

        Raises:
            UserError: it was the third in a row.
        """
        is_step = "loss" in logs
        if is_step and self._skipped:
            logs[SKIPPED] = 1.0
            if self._skipped == "loss":
                logs["loss"] = math.nan
        super().log(logs, *args, **kwargs)  # type: ignore[misc]
        if is_step and self._skipped:
            what, self._skipped = self._skipped, None
            skips = self._skips_in_a_row()
            if skips >= MAX_SKIPS:
                where = "" if self.culprits_file is None else f", their rows are in {self.culprits_file}"
                raise UserError(
                    f"step {self.state.global_step}: the {what} is not finite, {skips} steps in a row; none of these "
                    f"updates was made{where}; look at the rows and at trainer.learning_rate, and go on from "
                    "the last checkpoint with --resume"
                )

    def _skips_in_a_row(self) -> int:
        """Up to this step; the history is part of a checkpoint."""
        skipped = {log["step"] for log in self.state.log_history if SKIPPED in log}
        step = self.state.global_step
        while step in skipped:
            step -= 1
        return int(self.state.global_step - step)

    def _keep(self, culprits: list[tuple[Tensor, Any]], norm: float) -> None:
        """Write the rows of these micro-batches, of all processes."""
        facts = {"step": self.state.global_step + 1, "rank": self.accelerator.process_index, "grad_norm": repr(norm)}
        rows = [
            {**facts, "loss": repr(loss.item()), **row}
            for loss, batch in culprits
            for row in self.describe_batch(batch)
        ]
        if self.accelerator.num_processes > 1:
            rows = gather_object(rows)
        if self.culprits_file is not None and self.accelerator.is_main_process:
            append_json_lines(self.culprits_file, rows)


def _unpadded(batch: Mapping[str, Any], name: str, row: int) -> list[int]:
    mask = batch.get(name.replace("input_ids", "attention_mask"))
    ids = batch[name][row]
    kept: list[int] = (ids if mask is None else ids[mask[row].bool()]).tolist()
    return kept
