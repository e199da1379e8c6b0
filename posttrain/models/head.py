"""Log-probabilities of chosen tokens, with the language-model head applied nowhere else."""

from typing import Any, NamedTuple

import torch
from peft import PeftModel
from torch import Tensor
from trl.kernels import ChunkedLogProbFunction
from trl.trainer import utils as trl_utils

from posttrain.models.patching import replaced
from posttrain.objectives import token_scores


class Scored(NamedTuple):
    """What the model says of N tokens, in nats: log-probabilities with gradient; entropies, if the head gives them."""

    logps_N: Tensor
    entropies_N: Tensor | None
    outputs: Any


class TokenScorer:
    """Scores chosen tokens with a model that carries TRL's fused head.

    Off Triton devices that head projects every position, prompts and padding included. A forward hook on the backbone
    hands it the chosen positions alone; the parameters are still used by the model's own forward, so DDP, ZeRO and
    FSDP see nothing unusual. Where its kernel would run without Triton, `WholeRowHead` takes its place.

    Args:
        model: What `trl.add_fused_lm_head` was applied to, before or after it is wrapped.
    """

    def __init__(self, model: Any) -> None:
        self._causal_lm = model.get_base_model() if isinstance(model, PeftModel) else model
        self._positions_N: Tensor | None = None
        self._causal_lm.base_model.register_forward_hook(self._keep_chosen_positions)

    def score(
        self, model: Any, positions_N: Tensor, targets_N: Tensor, *, temperature: float | None = None, **inputs: Any
    ) -> Scored:
        """Log-probabilities of the tokens `targets_N`, each predicted at its place in `positions_N`.

        Args:
            model: The wrapped model that training calls, so that the wrapper's hooks run.
            positions_N: Places in the rows laid one behind the other; a place may predict several tokens.
            targets_N: The tokens.
            temperature: That of the softmax; None: what the head was given when it was added.
            inputs: The forward's other arguments, `input_ids` among them.
        """
        self._positions_N = positions_N
        try:
            with replaced(trl_utils, "_ChunkedLogProbFunction", self._head(temperature)):
                outputs = model(**inputs, shift_labels=targets_N[None], fused_lm_head=True)
        finally:
            self._positions_N = None
        return Scored(outputs.log_probs[0], None if outputs.entropy is None else outputs.entropy[0], outputs)

    def _keep_chosen_positions(self, _module: Any, _args: Any, output: Any) -> Any:
        if self._positions_N is not None:
            output.last_hidden_state = output.last_hidden_state.flatten(0, 1)[self._positions_N][None]
        return output

    def _head(self, temperature: float | None) -> Any:
        """Upstream's on Triton devices, and where weights are sharded: it gathers them again for the backward pass."""
        weight = self._causal_lm.get_output_embeddings().weight
        is_whole = type(weight) is torch.nn.Parameter and not hasattr(weight, "ds_id")
        head = WholeRowHead if weight.device.type == "cpu" and is_whole else ChunkedLogProbFunction
        return head if temperature is None else _AtTemperature(head, temperature)


class _AtTemperature(NamedTuple):
    """A head whose model was given another temperature."""

    head: Any
    temperature: float

    def apply(self, hidden: Tensor, weight: Tensor, bias: Any, targets: Tensor, _: float, *rest: Any) -> Any:
        return self.head.apply(hidden, weight, bias, targets, self.temperature, *rest)


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
    ) -> tuple[Tensor | None, ...]:
        """Log-probabilities, entropies without gradient and `is_top1`, each [N]; arguments and order are upstream's."""
        if softcap is not None:
            upstream: tuple[Tensor | None, ...] = ChunkedLogProbFunction.apply(
                hidden_NH, weight_VH, bias_V, targets_N, temperature, tile, softcap, logit_scale, outputs
            )
            return upstream
        scores = token_scores(hidden_NH, weight_VH, targets_N, bias_V=bias_V, temperature=temperature / logit_scale)
        return scores.logps_N, scores.entropies_N, None, None, scores.is_top1_N
