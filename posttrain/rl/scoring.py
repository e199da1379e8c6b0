"""Score a micro-batch of responses: the head is applied to the tokens that are trained, and nowhere else."""

from typing import Any

import torch
from torch import Tensor

from posttrain.models.head import TokenScorer
from posttrain.rl.responses import MicroBatch


class CompletionScorer:
    """Scores micro-batches with a model that carries TRL's fused head.

    Args:
        model: what `trl.add_fused_lm_head` was applied to, before or after it is wrapped.
    """

    def __init__(self, model: Any) -> None:
        self._scorer = TokenScorer(model)

    def score(self, model: Any, batch: MicroBatch) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities and entropies [B, T] of a micro-batch, 0 where its mask is off; no entropies: None.

        `model` is the wrapped model that training calls, so that the wrapper's hooks run.
        """
        positions_N = batch.predicts_BL.flatten().nonzero()[:, 0]
        # No mask: the padding is on the right, where no token that counts can see it in a causal model.
        scored = self._scorer.score(model, positions_N, batch.targets_N, input_ids=batch.input_ids)
        return _scatter(scored.logps_N, batch.mask_BT), _scatter(scored.entropies_N, batch.mask_BT)


def _scatter(values_N: Tensor | None, mask_BT: Tensor) -> Any:
    if values_N is None:
        return None
    return torch.zeros(mask_BT.shape, device=mask_BT.device).masked_scatter(mask_BT, values_N.float())
