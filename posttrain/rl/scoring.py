"""Log-probabilities of trained tokens, with the language-model head applied nowhere else."""

from contextlib import nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from trl.kernels import ChunkedLogProbFunction
from trl.trainer import utils as trl_utils

from posttrain.objectives import token_scores
from posttrain.models.patching import replaced
from posttrain.rl.responses import MicroBatch


class CompletionScorer:
    """Scores micro-batches with a model that carries TRL's fused head.

    Off Triton devices that head projects every position, prompts and padding included. A forward hook on the backbone
    hands it the trained positions alone; the parameters are still used by the model's own forward, so DDP, ZeRO and
    FSDP see nothing unusual. Where its kernel would run without Triton, `WholeRowHead` takes its place.

    Args:
        model: what `trl.add_fused_lm_head` was applied to, before or after it is wrapped.
    """

    def __init__(self, model: Any) -> None:
        self._causal_lm = model.get_base_model() if isinstance(model, PeftModel) else model
        self._predicts_BL: Tensor | None = None
        self._causal_lm.base_model.register_forward_hook(self._keep_predicting_positions)

    def score(self, model: Any, batch: MicroBatch) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities and entropies [B, T] of a micro-batch, 0 where its mask is off; no entropies: None.

        `model` is the wrapped model that training calls, so that the wrapper's hooks run.
        """
        self._predicts_BL = batch.predicts_BL
        try:
            with self._head():
                # No mask: the padding is on the right, where no token that counts can see it in a causal model.
                output = model(input_ids=batch.input_ids, shift_labels=batch.targets_N[None], fused_lm_head=True)
        finally:
            self._predicts_BL = None
        return _scatter(output.log_probs, batch.mask_BT), _scatter(output.entropy, batch.mask_BT)

    def _keep_predicting_positions(self, _module: Any, _args: Any, output: Any) -> Any:
        if self._predicts_BL is not None:
            output.last_hidden_state = output.last_hidden_state[self._predicts_BL][None]
        return output

    def _head(self) -> Any:
        """Upstream's on Triton devices, and where weights are sharded: it gathers them again for the backward pass."""
        weight = self._causal_lm.get_output_embeddings().weight
        if weight.device.type != "cpu" or type(weight) is not torch.nn.Parameter or hasattr(weight, "ds_id"):
            return nullcontext()
        return replaced(trl_utils, "_ChunkedLogProbFunction", WholeRowHead)


class WholeRowHead:
    """`token_scores` in the place of TRL's chunked head.

    The original keeps running sums over tiles of 32,768 columns and recomputes every tile in the backward pass, which a
    GPU likes; on a CPU it takes more than twice as long (docs/results.md).
    """

    @staticmethod
    def apply(
        hidden_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        temperature: float,
        tile: int,
        softcap: float | None,
        logit_scale: float,
        outputs: tuple[str, ...],
    ) -> tuple[Tensor, Tensor | None, None, None, None]:
        """Log-probabilities [N] and entropies [N] without gradient; arguments and results are upstream's."""
        if softcap is not None:
            upstream: tuple[Tensor, Tensor | None, None, None, None] = ChunkedLogProbFunction.apply(
                hidden_NH, weight_VH, bias_V, targets_N, temperature, tile, softcap, logit_scale, outputs
            )
            return upstream
        scores = token_scores(hidden_NH, weight_VH, targets_N, bias_V=bias_V, temperature=temperature / logit_scale)
        return *scores, None, None, None


def _scatter(values_1N: Tensor | None, mask_BT: Tensor) -> Any:
    if values_1N is None:
        return None
    return torch.zeros(mask_BT.shape, device=mask_BT.device).masked_scatter(mask_BT, values_1N[0].float())
