"""Our head gives what upstream's gives, value and gradient."""

import inspect
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from trl.kernels import ChunkedLogProbFunction

from posttrain.models.head import WholeRowHead
from posttrain.objectives import token_scores
from posttrain.objectives.log_probs import MAX_LOGITS

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


class Largest(TorchDispatchMode):
    """The largest tensor that any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.numbers = max([self.numbers, *(tensor.numel() for tensor in tensors)])
        return result


@pytest.mark.parametrize(("tokens", "vocabulary"), [(4096, 16_384), (16_384, 4096)])
def test_logits_of_all_tokens_never_exist_together(tokens: int, vocabulary: int) -> None:
    """Four times as many as may: neither in the forward pass nor in the backward pass."""
    hidden, weight = torch.randn(tokens, 4, requires_grad=True), torch.randn(vocabulary, 4, requires_grad=True)
    with Largest() as largest:
        scores = token_scores(hidden, weight, torch.zeros(tokens, dtype=torch.long))
        scores.logps_N.sum().backward()
    assert tokens * vocabulary >= 4 * MAX_LOGITS
    assert largest.numbers <= MAX_LOGITS


@pytest.mark.slow
def test_peak_does_not_grow_with_tokens_times_vocabulary() -> None:
    """Resident memory of a process each: 2 and then 8 times as many logits as may exist, which would be 512 MB."""
    peaks = []
    for tokens in (2048, 8192):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks.append(pool.apply(peak_of_scoring, (tokens, 16_384)))
    assert peaks[1] < peaks[0] + 100e6


def peak_of_scoring(tokens: int, vocabulary: int) -> int:
    """Bytes above what was resident before."""
    hidden, weight = torch.randn(tokens, 16, requires_grad=True), torch.randn(vocabulary, 16, requires_grad=True)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    token_scores(hidden, weight, torch.zeros(tokens, dtype=torch.long)).logps_N.sum().backward()
    return resident("VmHWM") - before


def resident(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
