"""The costs of a shape as lines and a table, for `posttrain model new`, `posttrain check` and the demo."""

from rich.table import Table

from posttrain.models.build import HybridShape
from posttrain.models.costs import (
    KINDS,
    attention_flops,
    keys_seen,
    kv_bytes_per_token,
    kv_cache_bytes,
    parameters,
    weight_flops,
)


def describe_parameters(shape: HybridShape, vocab_size: int) -> str:
    """How many there are, in all and of each part."""
    parts = parameters(shape, vocab_size)
    of_each = ", ".join(f"{name} {number:,}" for name, number in parts.items() if number)
    return f"{sum(parts.values()):,} ({of_each})"


def describe_layers(shape: HybridShape) -> str:
    """How many of each kind, and the window."""
    kinds = shape.layer_types
    counts = [f"{kinds.count(kind)} {kind.split('_')[0]}" for kind in KINDS if kind in kinds]
    window = f", window {shape.sliding_window:,}" if len(counts) > 1 else ""
    return " and ".join(counts) + window


def cost_table(shape: HybridShape, vocab_size: int) -> Table:
    """A row per length: KV cache and attention FLOPs of the token there, for each kind of layer and in all.

    The cache is counted in 16-bit numbers; "all" beside "if all full" is what the windows save.
    """
    kinds = [kind for kind in KINDS if kind in shape.layer_types]
    table = Table(
        title=f"cache: {kv_bytes_per_token(shape):,} bytes per token and layer; "
        f"matrices: {_short(weight_flops(shape, vocab_size))}FLOPs per token"
    )
    table.add_column("length", justify="right")
    for kind in kinds:
        name = kind.split("_")[0]
        table.add_column(f"{name}: cache", justify="right")
        table.add_column(f"{name}: FLOPs/token", justify="right")
    table.add_column("cache, all", justify="right")
    table.add_column("if all full", justify="right")
    for length in _lengths(shape):
        cells = [f"{length:,}"]
        for kind in kinds:
            count = shape.layer_types.count(kind)
            cache = count * keys_seen(shape, kind, length) * kv_bytes_per_token(shape)
            cells += [f"{_short(cache)}B", _short(count * attention_flops(shape, kind, length)).strip()]
        every_layer_full = shape.num_layers * length * kv_bytes_per_token(shape)
        table.add_row(*cells, f"{_short(kv_cache_bytes(shape, length))}B", f"{_short(every_layer_full)}B")
    return table


def _lengths(shape: HybridShape) -> list[int]:
    """From the window (or 1,024) in steps of four to the longest context."""
    length = min(shape.sliding_window if shape.local_layers else 1024, shape.max_position_embeddings)
    lengths = []
    while length < shape.max_position_embeddings:
        lengths.append(length)
        length *= 4
    return [*lengths, shape.max_position_embeddings]


def _short(number: int) -> str:
    """Three digits and a decimal prefix: 1.05 M."""
    value = float(number)
    for prefix in ("", "k", "M", "G"):
        if value < 1000:
            return f"{value:.3g} {prefix}"
        value /= 1000
    return f"{value:.3g} T"
