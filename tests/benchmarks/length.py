"""What attention costs against length: a layer's CPU time beside the formula's FLOPs, cache bytes beside the formula's.

    make bench-length [ARGS="--longest 16384"]

A sliding and a full layer of the tiny model's heads with a window of 256, forward and backward, our own attention.
FLOPs are the formula's forward pass (`posttrain/models/costs.py`) summed over the tokens, three times: the backward
pass has twice as many. What matters is how the columns grow: a sliding layer's time with the length, a full layer's
with its square. The caches are transformers' own, for the 3:1 hybrid and for full attention in
every layer.
"""

import argparse
import time
from dataclasses import replace

from posttrain.environment import prepare_environment

prepare_environment()

import torch  # noqa: E402  (after the environment is set)
from rich.table import Table  # noqa: E402
from transformers import DynamicCache  # noqa: E402

from posttrain.models.attention import segment_attention  # noqa: E402
from posttrain.models.build import PRESETS, HybridShape, model_config  # noqa: E402
from posttrain.models.costs import KINDS, attention_flops, kv_cache_bytes  # noqa: E402
from posttrain.terminal import console  # noqa: E402

WINDOW = 256
SHORTEST = 512
HYBRID = replace(PRESETS["tiny"], sliding_window=WINDOW, vocab_size=512, max_position_embeddings=2**20)


def seconds(kind: str, length: int, rounds: int) -> float:
    """CPU seconds of one layer's attention, forward and backward; the fastest of the rounds."""
    shape = (1, HYBRID.num_heads, length, HYBRID.head_dim)
    took = []
    for _ in range(rounds):
        heads = [torch.randn(shape, requires_grad=True) for _ in range(3)]
        began = time.process_time()
        window = WINDOW if kind == "sliding_attention" else None
        output, _ = segment_attention(torch.nn.Module(), *heads, None, sliding_window=window)
        output.sum().backward()
        took.append(time.process_time() - began)
    return min(took)


def flops(kind: str, length: int) -> int:
    """Of the same, as the formula has it."""
    return 3 * sum(attention_flops(HYBRID, kind, position) for position in range(1, length + 1))


def cached(shape: HybridShape, length: int) -> int:
    """Bytes that transformers' cache holds for a sequence, in 16 bit."""
    cache = DynamicCache(config=model_config(shape))
    for tokens in (length - 1, 1):
        for layer in range(shape.num_layers):
            states = torch.zeros(1, shape.num_kv_heads, tokens, shape.head_dim, dtype=torch.bfloat16)
            cache.update(states, states, layer)
    return sum(tensor.untyped_storage().nbytes() for layer in cache.layers for tensor in (layer.keys, layer.values))


def main() -> None:
    """Print a row per length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longest", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    full = replace(HYBRID, local_layers=0)
    table = Table("length", *(f"{kind.split('_')[0]}: {what}" for kind in KINDS for what in ("ms", "MFLOPs")))
    for column in ("hybrid: cache kB", "formula", "full: cache kB", "formula", "full : hybrid"):
        table.add_column(column, justify="right")
    length = SHORTEST
    while length <= args.longest:
        cells = [f"{length:,}"]
        for kind in KINDS:
            cells += [f"{1e3 * seconds(kind, length, args.rounds):,.1f}", f"{flops(kind, length) / 1e6:,.0f}"]
        caches = [cached(HYBRID, length), cached(full, length)]
        formula = [kv_cache_bytes(HYBRID, length), kv_cache_bytes(full, length)]
        for real, computed in zip(caches, formula, strict=True):
            cells += [f"{real / 1e3:,.0f}", f"{computed / 1e3:,.0f}"]
        table.add_row(*cells, f"{caches[1] / caches[0]:.2f}")
        length *= 2
    console.print(table)


if __name__ == "__main__":
    main()
