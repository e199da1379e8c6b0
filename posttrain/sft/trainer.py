"""`UnifiedSFTTrainer`: TRL's SFT trainer over rows of both modes, with the loss and the tokens of each mode logged."""

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback
from trl import SFTTrainer

from posttrain.chat import MODES
from posttrain.data.encode import IGNORED
from posttrain.guards import GuardedTrainer
from posttrain.models.head import TokenScorer
from posttrain.placement import PlacedTrainer
from posttrain.saving import WholeCheckpoints
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


class UnifiedSFTTrainer(PlacedTrainer, GuardedTrainer, WholeCheckpoints, SFTTrainer):
    """Trains reasoning and non-reasoning rows together (paper section 2.4.1), in the order that the mixer decided.

    Logs `loss/<mode>`, the trained tokens so far as `tokens/<mode>`, `tokens/ratio`, reasoning to non-reasoning, and
    where rows have several domains `loss/<mode>/<domain>` and `tokens/<mode>/<domain>`. With validation rows it logs
    `eval_loss` and `eval_loss/<mode>`, each a mean over tokens, whatever the batches.

    Overridden upstream hooks: `compute_loss` (to score trained tokens alone, and count them), `log` (to add the
    metrics), and those of `PlacedTrainer`, `GuardedTrainer` and `WholeCheckpoints`.

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
        self._scorer = TokenScorer(self.model)
        self._since_log_G2, self._of_evaluation_G2 = self._zeros(), self._zeros()
        self.add_callback(_LogBeforeSaving())
        if validation is not None:
            self.add_callback(_EvaluateAtEnd())
        if collator.is_packed:
            self.add_callback(ProveIsolation(self, samples, collator))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss, a mean over trained tokens; the head is applied to those alone, and they are counted by group."""
        groups_BL = inputs.pop(GROUPS)

        def scored(*, fused_lm_head: bool = False, **model_inputs: Any) -> Any:
            if not fused_lm_head:  # label smoothing takes a plain pass as well
                return model(**model_inputs)
            outputs, places_N = self.score(model, **model_inputs)
            self._count(self._groups.sums(groups_BL, places_N, outputs.log_probs[0]))
            return outputs

        return super().compute_loss(scored, inputs, return_outputs, num_items_in_batch)

    def score(self, model: Any, *, labels: Tensor, **inputs: Any) -> tuple[Any, Tensor]:
        """What the model says of the N trained tokens of a batch.

        Returns:
            TRL's fused output, its values [1, N], and where in the batch's rows, laid one behind the other, they are.
        """
        is_trained_BL = labels != IGNORED
        is_trained_BL[:, 0] = False  # nothing predicts it
        places_N = is_trained_BL.flatten().nonzero()[:, 0]
        scored = self._scorer.score(model, places_N - 1, labels.flatten()[places_N], **inputs)
        return scored.outputs, places_N

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

    def _count(self, sums_BG2: Tensor) -> None:
        if self.model.training:
            self._since_log_G2 += sums_BG2.sum(dim=0)
        else:  # gathered at once, as upstream does: the last batch repeats samples to give every process its share
            self._of_evaluation_G2 += self.accelerator.gather_for_metrics(sums_BG2).sum(dim=0)

    def _zeros(self) -> Tensor:
        return torch.zeros(len(self._groups), 2, dtype=torch.float64, device=self.accelerator.device)
