"""Score responses: the head is applied to the tokens that are trained, and nowhere else."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from posttrain.models.head import TokenScorer
from posttrain.rl.responses import MicroBatch


class CompletionScorer:
    """Scores with a model that carries TRL's fused head.

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

    @torch.no_grad()
    def score_tokens(self, model: Any, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        """Log-probabilities at temperature 1 of the tokens that follow a prompt.

        By the forward pass of the training: one that calls the module of the head leaves ZeRO-3's order of the shards
        in disarray, and the next backward pass fails (deepspeed 0.19).
        """
        ids_L = torch.tensor([*prompt_ids, *token_ids], device=model.device)
        positions_N = torch.arange(len(prompt_ids) - 1, len(ids_L) - 1, device=model.device)
        inputs = {"input_ids": ids_L[None]}
        scored = self._scorer.score(model, positions_N, ids_L[len(prompt_ids) :], temperature=1.0, **inputs)
        logps: list[float] = scored.logps_N.float().tolist()
        return logps


def _scatter(values_N: Tensor | None, mask_BT: Tensor) -> Any:
    if values_N is None:
        return None
    return torch.zeros(mask_BT.shape, device=mask_BT.device).masked_scatter(mask_BT, values_N.float())
