"""Our head gives what upstream's gives, value and gradient."""

import inspect
from typing import Any

import pytest
import torch
from trl.kernels import ChunkedLogProbFunction

from posttrain.models.head import WholeRowHead

HEADS = [
    {"softcap": None, "scale": 1.0, "bias": False},
    {"softcap": 5.0, "scale": 0.5, "bias": True},
]


def value_and_gradient(head: Any, softcap: float | None, scale: float, bias: bool) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden, weight, shift = (torch.randn(*shape, generator=generator) for shape in ((7, 16), (50, 16), (50,)))
    leaves = [tensor.requires_grad_() for tensor in ([hidden, weight, shift] if bias else [hidden, weight])]
    targets = torch.tensor([0, 49, 3, 3, 17, 8, 30])
    outputs = ("log_probs", "entropy", "is_top1")
    logps, entropies, *_, is_top1 = head.apply(
        hidden, weight, shift if bias else None, targets, 0.7, 32, softcap, scale, outputs
    )
    (logps * torch.arange(7.0)).sum().backward()
    return [logps.detach(), entropies.detach(), is_top1, *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@pytest.mark.parametrize("settings", HEADS)
def test_whole_rows_give_what_upstreams_tiles_give(settings: dict[str, Any]) -> None:
    expected = value_and_gradient(ChunkedLogProbFunction, **settings)
    for got, other in zip(value_and_gradient(WholeRowHead, **settings), expected, strict=True):
        torch.testing.assert_close(got, other, rtol=1e-4, atol=1e-5)


def test_upstreams_head_is_still_called_as_ours_is() -> None:
    theirs = list(inspect.signature(ChunkedLogProbFunction.forward).parameters)[1:]
    assert len(theirs) == len(inspect.signature(WholeRowHead.apply).parameters)
    assert theirs[4:] == ["temperature", "chunk_size", "final_logit_softcapping", "logit_scale", "outputs"]
