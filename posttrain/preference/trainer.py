"""`SimPERTrainer`: TRL's DPO trainer with the SimPER loss and without a reference model."""

from typing import Any, ClassVar

import torch
from trl import DPOTrainer

from posttrain.objectives import mean_log_prob, simper_loss
from posttrain.preference.config import SimPERConfig
from posttrain.preference.pair_files import require_tokens


class SimPERTrainer(DPOTrainer):
    """Raises p(chosen) and lowers p(rejected), p = exp(mean token log-probability) (paper section 2.4.3).

    Takes what `DPOTrainer` takes, with a `SimPERConfig` and a dataset of token ids: `prompt_ids`, `chosen_ids` and
    `rejected_ids`, which is what TRL's own preparation makes. The loss is the mean over pairs: cutting a
    batch into micro-batches of equal size, or over ranks, changes nothing.

    Logs `prob/chosen`, `prob/rejected`, `margin` (their difference), `ordering_accuracy` (share of pairs with a margin
    above 0), `length/chosen` and `length/rejected` (mean completion tokens).

    No reference model exists at any time. TRL loads one in `__init__` unless its log-probabilities are computed
    beforehand (`precompute_ref_log_probs`, which the config fixes). `_precompute_ref_logps`, the hook that would
    compute them, gives the dataset back as it is, and the loss never asks for them. What remains is one hash of the
    weights at the start. Under FSDP without LoRA TRL 1.16 loads a reference even so: the stage refuses that.

    Overridden upstream hooks: `_prepare_dataset` (the ids are what was sampled, text is never tokenised again),
    `_precompute_ref_logps` (nothing to compute), `_compute_loss` (the objective).
    """

    _name = "SimPER"
    _tag_names: ClassVar = ["trl", "simper"]
    _paper: ClassVar = {
        "title": "SimPER: A Minimalist Approach to Preference Alignment without Hyperparameters",
        "id": "2502.00883",
    }
    args: SimPERConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.precompute_ref_logps = False  # `evaluate` on another dataset would insist on reference log-probabilities

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        """Check the pairs; they already are token ids.

        Raises:
            UserError: a pair has an empty prompt or an empty side.
        """
        require_tokens(dataset, f"{dataset_name} pairs")
        return dataset

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """The batch holds B chosen sequences and then B rejected ones, padded on the right."""
        input_ids, completion_mask = inputs["input_ids"], inputs["completion_mask"]
        outputs = model(
            input_ids=input_ids,
            attention_mask=inputs["attention_mask"],
            labels=input_ids.masked_fill(completion_mask == 0, -100),
            use_cache=False,
            fused_lm_head=True,
            **({"output_router_logits": True} if self.aux_loss_enabled else {}),
        )
        mask_BT = completion_mask[:, 1:].bool()
        mean_logp_B = mean_log_prob(outputs.log_probs[:, -mask_BT.shape[1] :].float(), mask_BT)
        chosen_mean_logp_B, rejected_mean_logp_B = mean_logp_B.chunk(2)
        result = simper_loss(chosen_mean_logp_B, rejected_mean_logp_B)
        chosen_length_B, rejected_length_B = mask_BT.sum(dim=1).float().chunk(2)
        margin_B = result.chosen_prob_B - result.rejected_prob_B
        self._record(
            {
                "prob/chosen": result.chosen_prob_B,
                "prob/rejected": result.rejected_prob_B,
                "margin": margin_B,
                "ordering_accuracy": (margin_B > 0).float(),
                "length/chosen": chosen_length_B,
                "length/rejected": rejected_length_B,
            }
        )
        loss = result.loss_B.mean()
        if self.aux_loss_enabled:  # a mixture of experts: keep its router balanced, as TRL does
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss
        return (loss, outputs) if return_outputs else loss

    def _record(self, values_B: dict[str, torch.Tensor]) -> None:
        """Keep the mean over the pairs of all ranks until the next log."""
        gathered = self.accelerator.gather(torch.stack(list(values_B.values()), dim=1))
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, value in zip(values_B, gathered.mean(dim=0).tolist(), strict=True):
            metrics[name].append(value)
