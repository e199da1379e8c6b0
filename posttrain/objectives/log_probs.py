"""Log-probabilities and entropies from logits, a few tokens at a time.

Shape suffixes: B sequences, T tokens, V vocabulary.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def selected_log_probs(
    logits_BTV: Float[Tensor, "B T V"],
    ids_BT: Int[Tensor, "B T"],
    *,
    temperature: float = 1.0,
    chunk_tokens: int = 1024,
) -> Float[Tensor, "B T"]:
    """Log-probability of one id per position, in float32 whatever the logits' dtype.

    Only one chunk of logits exists in float32 at a time, in the backward pass too: a chunk is recomputed there instead
    of being kept.

    Args:
        logits_BTV: Logits that predict the ids at the same position; the shift by one is the caller's.
        ids_BT: Ids in [0, V).
        temperature: Divisor of the logits: that of sampling, to get the probabilities the tokens were drawn with.
        chunk_tokens: Tokens (over all sequences) per chunk.

    Raises:
        ValueError: The temperature or the chunk is not positive.
    """
    _check(temperature, chunk_tokens)

    def of_chunk(logits: Tensor, ids: Tensor) -> Tensor:
        scaled = logits.float() / temperature
        return scaled.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - scaled.logsumexp(-1)

    def recomputed(logits: Tensor, ids: Tensor) -> Tensor:
        logps: Tensor = checkpoint(of_chunk, logits, ids, use_reentrant=False, preserve_rng_state=False)
        return logps

    return _by_chunks(recomputed, logits_BTV, ids_BT, chunk_tokens=chunk_tokens)


@torch.no_grad()
def token_entropy(
    logits_BTV: Float[Tensor, "B T V"], *, temperature: float = 1.0, chunk_tokens: int = 1024
) -> Float[Tensor, "B T"]:
    """Entropy of the next-token distribution at each position, in nats and float32, without gradient.

    Args:
        logits_BTV: Logits; -inf is a probability of 0.
        temperature: Divisor of the logits.
        chunk_tokens: Tokens (over all sequences) per chunk.

    Raises:
        ValueError: The temperature or the chunk is not positive.
    """
    _check(temperature, chunk_tokens)

    def of_chunk(logits: Tensor) -> Tensor:
        entropy: Tensor = torch.special.entr((logits.float() / temperature).softmax(-1)).sum(-1)
        return entropy

    return _by_chunks(of_chunk, logits_BTV, chunk_tokens=chunk_tokens)


def _by_chunks(of_chunk: Callable[..., Tensor], *tensors: Tensor, chunk_tokens: int) -> Tensor:
    """Apply a function along T in pieces of about `chunk_tokens` tokens, as views, and join the results."""
    step = max(chunk_tokens // max(tensors[0].shape[0], 1), 1)
    pieces = zip(*(torch.split(tensor, step, dim=1) for tensor in tensors), strict=True)
    return torch.cat([of_chunk(*piece) for piece in pieces], dim=1)


def _check(temperature: float, chunk_tokens: int) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: give a number above 0")
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens is {chunk_tokens}: give a whole number above 0")
