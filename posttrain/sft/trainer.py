"""`UnifiedSFTTrainer`: TRL's SFT trainer over rows of both modes, with the loss and the tokens of each mode logged."""

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback
from trl import SFTTrainer

from posttrain.chat import MODES
from posttrain.sft.collator import GROUPS, Collator
from posttrain.sft.groups import Groups, evaluation_figures, training_figures
from posttrain.sft.isolation import ProveIsolation
from posttrain.sft.samples import Samples


class _LogBeforeSaving(TrainerCallback):
    """A checkpoint's log history then holds every token up to it."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= control.should_save

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= control.should_save


class _EvaluateAtEnd(TrainerCallback):
    """Whatever `eval_strategy` says, the model that is exported has been evaluated."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_evaluate |= state.global_step >= state.max_steps


class UnifiedSFTTrainer(SFTTrainer):
    """Trains reasoning and non-reasoning rows together (paper section 2.4.1), in the order that the mixer decided.

    Logs `loss/<mode>`, the trained tokens so far as `tokens/<mode>`, `tokens/ratio`, reasoning to non-reasoning, and
    where rows have several domains `loss/<mode>/<domain>` and `tokens/<mode>/<domain>`. With validation rows it logs
    `eval_loss` and `eval_loss/<mode>`, each a mean over tokens, whatever the batches.

    Overridden upstream hooks: `compute_loss` (to see the log-probabilities of each token) and `log` (to add the
    metrics).

    Args:
        samples: what is trained.
        validation: what is evaluated, cut into samples as the former; None: nothing is.
        processing_class: the tokenizer.
        kwargs: the other arguments of TRL's trainer.
    """

    def __init__(
        self, *, samples: Samples, validation: Samples | None = None, processing_class: Any, **kwargs: Any
    ) -> None:
        splits = {"train": samples} if validation is None else {"train": samples, "validation": validation}
        self._groups = Groups(domain for split in splits.values() for domain in split.domains)
        collator = Collator(
            {name: split.rows for name, split in splits.items()},
            self._groups,
            processing_class.pad_token_id,
            is_packed=samples.pack_tokens is not None,
        )
        super().__init__(
            train_dataset=samples.as_dataset("train"),
            eval_dataset=None if validation is None else validation.as_dataset("validation"),
            data_collator=collator,
            processing_class=processing_class,
            **kwargs,
        )
        self._since_log_G2, self._of_evaluation_G2 = self._zeros(), self._zeros()
        self.add_callback(_LogBeforeSaving())
        if validation is not None:
            self.add_callback(_EvaluateAtEnd())
        if collator.is_packed:
            self.add_callback(ProveIsolation(self, samples, collator))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss, unchanged; the outputs pass by on their way and are counted per group."""
        groups_BL = inputs.pop(GROUPS)[:, 1:]  # the model says the tokens from the second one on

        def observed(**model_inputs: Any) -> Any:
            outputs = model(**model_inputs)
            if model_inputs.get("fused_lm_head"):  # label smoothing takes a plain pass as well
                self._observe(self._groups.sums(groups_BL, outputs.log_probs, outputs.label_mask))
            return outputs

        return super().compute_loss(observed, inputs, return_outputs, num_items_in_batch)

    def logps(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Log-probabilities [B, L - 1] as in training, 0 where there is no label."""
        logps: Tensor = model(**inputs, use_cache=False, fused_lm_head=True).log_probs
        return logps

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the figures of each group, summed over ranks."""
        if "loss" in logs:
            since_log_G2 = self.accelerator.reduce(self._since_log_G2, reduction="sum")
            # The history is part of a checkpoint, so the tokens of a resumed run go on counting.
            history = reversed(self.state.log_history)
            before: dict[str, float] = next((past for past in history if f"tokens/{MODES[0]}" in past), {})
            logs.update(training_figures(self._groups.named(since_log_G2), before))
            self._since_log_G2 = self._zeros()
        elif "eval_loss" in logs:
            logs.update(evaluation_figures(self._groups.named(self._of_evaluation_G2)))
            self._of_evaluation_G2 = self._zeros()
        super().log(logs, start_time)

    def _observe(self, sums_BG2: Tensor) -> None:
        if self.model.training:
            self._since_log_G2 += sums_BG2.sum(dim=0)
        else:  # gathered at once, as upstream does: the last batch repeats samples to give every process its share
            self._of_evaluation_G2 += self.accelerator.gather_for_metrics(sums_BG2).sum(dim=0)

    def _zeros(self) -> Tensor:
        return torch.zeros(len(self._groups), 2, dtype=torch.float64, device=self.accelerator.device)
