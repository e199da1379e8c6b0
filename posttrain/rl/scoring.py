"""Log-probabilities of trained tokens, with the language-model head applied nowhere else."""

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from posttrain.rl.responses import MicroBatch


class CompletionScorer:
    """Scores micro-batches with a model that carries TRL's fused head.

    Off Triton devices that head projects every position, prompts and padding included. A forward hook on the backbone
    hands it the trained positions alone; the parameters are still used by the model's own forward, so DDP, ZeRO and
    FSDP see nothing unusual.

    Args:
        model: what `trl.add_fused_lm_head` was applied to, before or after it is wrapped.
    """

    def __init__(self, model: Any) -> None:
        causal_lm = model.get_base_model() if isinstance(model, PeftModel) else model
        self._predicts_BL: Tensor | None = None
        causal_lm.base_model.register_forward_hook(self._keep_predicting_positions)

    def score(self, model: Any, batch: MicroBatch) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities and entropies [B, T] of a micro-batch, 0 where its mask is off; no entropies: None.

        `model` is the wrapped model that training calls, so that the wrapper's hooks run.
        """
        self._predicts_BL = batch.predicts_BL
        try:
            output = model(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                shift_labels=batch.targets_N[None],
                fused_lm_head=True,
            )
        finally:
            self._predicts_BL = None
        return _scatter(output.log_probs, batch.mask_BT), _scatter(output.entropy, batch.mask_BT)

    def _keep_predicting_positions(self, _module: Any, _args: Any, output: Any) -> Any:
        if self._predicts_BL is not None:
            output.last_hidden_state = output.last_hidden_state[self._predicts_BL][None]
        return output


def _scatter(values_1N: Tensor | None, mask_BT: Tensor) -> Any:
    if values_1N is None:
        return None
    return torch.zeros(mask_BT.shape, device=mask_BT.device).masked_scatter(mask_BT, values_1N[0].float())
