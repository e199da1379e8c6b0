"""A whole training step of a 3:1 hybrid model: our attention against `sdpa`, and the memory beside it.

    make bench-attention

One unpadded row, forward and backward, window 128. The model has the proportions of EXAONE 4.0 1.2B (FFN twice the
hidden size, four query heads to a KV head) at hidden size 128: 8,192 tokens are to it what 131,072 are to a hidden size
of 2,048. The two alternate, so that a noisy machine slows both; printed is the median of the rounds' ratios, in CPU
time. `limit` is what the ratio would be if sliding layers cost nothing at all: the causal kernel of the full layer and
the matrices stay. Peak memory is that of a fresh process each.
"""

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path

from posttrain.environment import prepare_environment

prepare_environment()

import torch  # noqa: E402  (after the environment is set)
from torch import Tensor  # noqa: E402
from transformers import Exaone4ForCausalLM  # noqa: E402

from posttrain.models.attention import SEGMENTS, segment_attention  # noqa: E402
from posttrain.models.build import HybridShape, model_config  # noqa: E402
from posttrain.terminal import say  # noqa: E402

TARGETS = {1024: 1.3, 4096: 3.5, 8192: 5.0}  # tokens: times faster
WINDOW = 128


def make_model(attention: str, hidden_size: int) -> Exaone4ForCausalLM:
    """Four layers, heads of 32 numbers."""
    shape = HybridShape(
        hidden_size=hidden_size,
        num_layers=4,
        intermediate_size=2 * hidden_size,
        num_heads=hidden_size // 32,
        num_kv_heads=max(1, hidden_size // 128),
        head_dim=32,
        sliding_window=WINDOW,
        local_layers=3,
        max_position_embeddings=max(TARGETS),
        vocab_size=512,
    )
    torch.manual_seed(0)
    return Exaone4ForCausalLM._from_config(model_config(shape), attn_implementation=attention)


def step(model: Exaone4ForCausalLM, ids: Tensor) -> float:
    """CPU seconds of forward and backward."""
    began = time.process_time()
    model(ids, labels=ids, use_cache=False).loss.backward()
    took = time.process_time() - began
    model.zero_grad()
    return took


def windows(model: Exaone4ForCausalLM, length: int) -> float:
    """CPU seconds of the attention of all sliding layers, forward and backward."""
    config = model.config
    shape = (1, config.num_attention_heads, length, config.head_dim)
    heads = [torch.randn(shape).requires_grad_() for _ in range(3)]
    began = time.process_time()
    output, _ = segment_attention(torch.nn.Module(), *heads, None, sliding_window=WINDOW)
    output.sum().backward()
    return (time.process_time() - began) * config.layer_types.count("sliding_attention")


def peak_memory(attention: str, hidden_size: int, length: int) -> float:
    """Peak resident memory of a step, MB above what was resident before it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (attention, hidden_size, length))


def _peak_memory(attention: str, hidden_size: int, length: int) -> float:
    model = make_model(attention, hidden_size)
    step(model, torch.randint(0, 512, (1, 256)))
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    step(model, torch.randint(0, 512, (1, length)))
    return _status("VmHWM") - before


def _status(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Print a line per length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=128, help="hidden size, a multiple of 32")
    args = parser.parse_args()
    models = {attention: make_model(attention, args.hidden) for attention in ("sdpa", SEGMENTS)}
    for length, target in TARGETS.items():
        ids = torch.randint(0, 512, (1, length))
        for model in models.values():
            step(model, ids)  # warms up
        times = [(step(models["sdpa"], ids), step(models[SEGMENTS], ids)) for _ in range(args.rounds)]
        ratios = [theirs / ours for theirs, ours in times]
        theirs, ours = (min(column) for column in zip(*times, strict=True))
        sliding = min(windows(models[SEGMENTS], length) for _ in range(args.rounds))
        peaks = {attention: peak_memory(attention, args.hidden, length) for attention in models}
        limit = theirs / (ours - sliding)
        say(
            f"{length:>5} tokens: sdpa {theirs:.2f} s, ours {ours:.2f} s, "
            f"[bold]{statistics.median(ratios):.2f}x[/bold] (target {target}x, limit {limit:.2f}x); "
            f"peak memory {peaks['sdpa']:,.0f} MB, {peaks[SEGMENTS]:,.0f} MB"
        )


if __name__ == "__main__":
    main()
