"""`UnifiedSFTTrainer`: TRL's SFT trainer over rows of both modes, with the loss and the tokens of each mode logged."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from posttrain.chat import MODES

MODE_COLUMN = "mode_id"  # index into MODES, one per row


@dataclass
class UnifiedCollator(DataCollatorForLanguageModeling):
    """TRL's collator (right padding, labels -100 on padding) that carries each row's mode along."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows with `input_ids`, `labels` and `mode_id`."""
        batch: dict[str, Any] = super().torch_call(examples)
        batch[MODE_COLUMN] = torch.tensor([example[MODE_COLUMN] for example in examples])
        return batch


class _LogBeforeSaving(TrainerCallback):
    """A checkpoint's log history then holds every token up to it."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= control.should_save

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= control.should_save


class UnifiedSFTTrainer(SFTTrainer):
    """Trains reasoning and non-reasoning rows together (paper section 2.4.1).

    Takes a dataset of `input_ids`, `labels` (-100 where the model does not speak) and `mode_id`, in the order in which
    it is to be trained: the mixer decided it. Logs `loss/<mode>`, the trained tokens so far as `tokens/<mode>`, and
    `tokens/ratio`, reasoning to non-reasoning.

    Overridden upstream hooks: `compute_loss` (to see the log-probabilities of each row), `log` (to add the metrics),
    `_set_signature_columns_if_needed` (to keep `mode_id`).
    """

    _signature_columns: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._window = torch.zeros(len(MODES), 2, dtype=torch.float64)  # sums since the last log: [loss, tokens]
        self.add_callback(_LogBeforeSaving())

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if MODE_COLUMN not in self._signature_columns:
            self._signature_columns = [*self._signature_columns, MODE_COLUMN]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss, unchanged; the outputs pass by on their way and are counted per mode."""
        mode_ids = inputs.pop(MODE_COLUMN)

        def observed(**model_inputs: Any) -> Any:
            outputs = model(**model_inputs)
            if self.model.training and model_inputs.get("fused_lm_head"):  # label smoothing takes a plain pass as well
                self._observe(mode_ids, outputs.log_probs, outputs.label_mask)
            return outputs

        return super().compute_loss(observed, inputs, return_outputs, num_items_in_batch)

    @torch.no_grad()
    def _observe(self, mode_ids: torch.Tensor, log_probs: torch.Tensor, label_mask: torch.Tensor) -> None:
        loss_B = -log_probs.detach().double().sum(dim=1)
        tokens_B = label_mask.double().sum(dim=1)
        self._window.index_add_(0, mode_ids.cpu(), torch.stack([loss_B, tokens_B], dim=1).cpu())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the per-mode figures, summed over ranks."""
        if self.model.training and "loss" in logs:
            window = self.accelerator.reduce(self._window.to(self.accelerator.device), reduction="sum").cpu()
            self._window.zero_()
            # The history is part of a checkpoint, so the tokens of a resumed run go on counting.
            history = reversed(self.state.log_history)
            before: dict[str, float] = next((past for past in history if f"tokens/{MODES[0]}" in past), {})
            for (loss, tokens), mode in zip(window.tolist(), MODES, strict=True):
                if tokens:
                    logs[f"loss/{mode}"] = loss / tokens
                logs[f"tokens/{mode}"] = before.get(f"tokens/{mode}", 0.0) + tokens
            reasoning, direct = (logs[f"tokens/{mode}"] for mode in MODES)
            if reasoning and direct:
                logs["tokens/ratio"] = reasoning / direct
        super().log(logs, start_time)
