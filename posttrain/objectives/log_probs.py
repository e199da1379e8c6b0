"""Log-probabilities and entropies of tokens from hidden states: the language-model head and its softmax in one.

Shape suffixes: N tokens, H hidden size, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MAX_LOGITS = 2**24  # that exist at a time: 64 MB in float32


class TokenScores(NamedTuple):
    """What the head says of given tokens, in nats and float32.

    Attributes:
        logps_N: Log-probability of each token, with gradient.
        entropies_N: Entropy of the distribution it was drawn from, without.
        is_top1_N: Whether no other token was more likely.
    """

    logps_N: Float[Tensor, " N"]
    entropies_N: Float[Tensor, " N"]
    is_top1_N: Bool[Tensor, " N"]


def token_scores(
    hidden_NH: Float[Tensor, "N H"],
    weight_VH: Float[Tensor, "V H"],
    targets_N: Int[Tensor, " N"],
    *,
    bias_V: Float[Tensor, " V"] | None = None,
    temperature: float = 1.0,
    max_logits: int = MAX_LOGITS,
) -> TokenScores:
    """Log-probability and entropy of one token per hidden state, with the softmax in float32 whatever the dtypes.

    Automatic differentiation would keep or make several matrices of the size of the logits; here there is one, whose
    place the gradient takes. Where there are more than `max_logits` of them, tokens are scored some at a time and
    their logits computed again in the backward pass.

    Args:
        hidden_NH: States that predict the targets; the shift by one is the caller's.
        weight_VH: The head.
        targets_N: Ids in [0, V).
        bias_V: The head's bias.
        temperature: Divisor of the logits: that of sampling, to get the probabilities the tokens were drawn with.
        max_logits: How many logits may exist at a time; a whole row of the vocabulary is the least.

    Raises:
        ValueError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: give a number above 0")
    scores = _TokenScores.apply(hidden_NH, weight_VH, bias_V, targets_N, temperature, max_logits)  # type: ignore[no-untyped-call]
    return TokenScores(*scores)


class _TokenScores(torch.autograd.Function):
    """With x the scaled logits and p their softmax: d logp / dx = onehot(target) - p."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        temperature: float,
        max_logits: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.temperature = temperature
        ctx.chunk = max(1, max_logits // weight_VH.shape[0])
        exps_NV, rows = None, []
        for hidden, targets in zip(torch.split(hidden_NH, ctx.chunk), torch.split(targets_N, ctx.chunk), strict=True):
            logits, exps_NV, sums = _exponentials(hidden, weight_VH, bias_V, temperature)
            log_sums = sums.log()
            of_targets = logits.gather(1, targets[:, None])[:, 0]
            entropies = log_sums - torch.linalg.vecdot(exps_NV, logits) / sums
            rows.append(torch.stack([of_targets - log_sums, entropies, of_targets]))
        is_whole = len(rows) == 1
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, targets_N, *((exps_NV, sums) if is_whole else ()))
        empty = hidden_NH.new_zeros(3, 0, dtype=torch.float32)
        logps_N, entropies_N, below_top_N = torch.cat(rows, dim=1) if rows else empty
        is_top1_N = below_top_N == 0
        ctx.mark_non_differentiable(entropies_N, is_top1_N)
        return logps_N, entropies_N, is_top1_N

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grads_N: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        hidden_NH, weight_VH, bias_V, targets_N, *whole = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden_NH) if needs_hidden else None
        grad_weight = torch.zeros_like(weight_VH) if needs_weight else None
        grad_bias = torch.zeros_like(bias_V) if needs_bias else None
        for start in range(0, len(hidden_NH), ctx.chunk):
            piece = slice(start, start + ctx.chunk)
            hidden, targets, grads = hidden_NH[piece], targets_N[piece], grads_N[piece]
            _, exps, sums = (None, *whole) if whole else _exponentials(hidden, weight_VH, bias_V, ctx.temperature)
            grads = grads / ctx.temperature
            # In its own place: a second backward pass through the same graph is refused by autograd, never wrong.
            by_logits = exps.mul_((-grads / sums)[:, None])
            by_logits.scatter_add_(1, targets[:, None], grads[:, None])
            by_logits = by_logits.to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[piece] = by_logits @ weight_VH.to(hidden.dtype)
            if grad_weight is not None:
                grad_weight.addmm_(by_logits.T.to(weight_VH.dtype), hidden.to(weight_VH.dtype))
            if grad_bias is not None:
                grad_bias += by_logits.sum(dim=0)
        return grad_hidden, grad_weight, grad_bias, None, None, None


def _exponentials(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Scaled logits less their largest one, `exp` of them [both N, V], and the sum of those [N]."""
    logits = torch.nn.functional.linear(hidden_NH, weight_VH, bias_V).float()
    if temperature != 1.0:
        logits /= temperature
    logits -= logits.amax(dim=1, keepdim=True)
    exps = logits.exp()
    return logits, exps, exps.sum(dim=1)
