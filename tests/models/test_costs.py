"""Formulas against hand counts, the built models and PyTorch's own counter."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Exaone4ForCausalLM

from posttrain.models.build import PRESETS, HybridShape, model_config
from posttrain.models.cost_table import cost_table, describe_layers, describe_parameters
from posttrain.models.costs import (
    attention_flops,
    keys_seen,
    kv_bytes_per_token,
    kv_cache_bytes,
    parameters,
    token_flops,
)

LOCAL, GLOBAL = "sliding_attention", "full_attention"
TINY = PRESETS["tiny"]


@pytest.mark.parametrize(
    ("name", "billions"),
    [("exaone-4.0-1.2b", 1.28), ("exaone-4.0-32b", 32.0)],
)
def test_presets_have_the_parameters_their_names_say(name: str, billions: float) -> None:
    shape = PRESETS[name]
    with torch.device("meta"):
        model = Exaone4ForCausalLM(model_config(shape))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == sum(parameters(shape, 102_400).values())
    assert counted / 1e9 == pytest.approx(billions, rel=0.01)


def test_sliding_layers_see_and_cache_a_window() -> None:
    """Window 64, 2 KV heads of 32 numbers in 16 bit: 256 bytes per token and layer; three layers of four slide."""
    assert [keys_seen(TINY, LOCAL, position) for position in (1, 64, 65, 1000)] == [1, 64, 64, 64]
    assert keys_seen(TINY, GLOBAL, 1000) == 1000
    assert kv_bytes_per_token(TINY) == 2 * 2 * 32 * 2 == 256
    assert kv_cache_bytes(TINY, 50) == 4 * 50 * 256
    assert kv_cache_bytes(TINY, 1000) == (3 * 64 + 1000) * 256
    assert attention_flops(TINY, LOCAL, 1000) == 4 * 4 * 32 * 64


def test_at_32_windows_a_3_to_1_hybrid_caches_more_than_2_5_times_less_than_full_attention() -> None:
    """(3 W + 32 W) against 4 x 32 W: 3.66 times."""
    length = 32 * TINY.sliding_window
    assert kv_cache_bytes(replace(TINY, local_layers=0), length) / kv_cache_bytes(TINY, length) == pytest.approx(
        128 / 35
    )


def cached_bytes(shape: HybridShape, length: int) -> int:
    """Of the keys and values that transformers holds after reading `length` tokens and one more."""
    torch.manual_seed(0)
    model = Exaone4ForCausalLM._from_config(model_config(shape), attn_implementation="sdpa").eval()
    ids = torch.randint(0, 512, (1, length))
    with torch.inference_mode():
        cache = model(ids[:, :-1], use_cache=True).past_key_values
        cache = model(ids[:, -1:], past_key_values=cache, use_cache=True).past_key_values
    return sum(tensor.untyped_storage().nbytes() for layer in cache.layers for tensor in (layer.keys, layer.values))


def test_real_caches_at_32_windows_are_as_large_as_the_formula_says_and_2_5_times_apart() -> None:
    """transformers keeps 15 of a window of 16: what the next token sees besides itself."""
    hybrid = replace(TINY, vocab_size=512, sliding_window=16)
    length = 32 * hybrid.sliding_window
    full = replace(hybrid, local_layers=0)
    of_hybrid, of_full = cached_bytes(hybrid, length), cached_bytes(full, length)
    assert of_full == kv_cache_bytes(full, length, 4)
    spared = 3 * kv_bytes_per_token(hybrid, 4)
    assert kv_cache_bytes(hybrid, length, 4) - spared <= of_hybrid <= kv_cache_bytes(hybrid, length, 4)
    assert of_full / of_hybrid >= 2.5


@pytest.mark.parametrize("local_layers", [3, 0])
@pytest.mark.parametrize("position", [1, 20, 64, 65, 150])
def test_flops_of_a_token_are_those_that_pytorch_counts(position: int, local_layers: int) -> None:
    shape = replace(TINY, vocab_size=512, local_layers=local_layers)
    torch.manual_seed(0)
    model = Exaone4ForCausalLM._from_config(model_config(shape), attn_implementation="eager").eval()
    ids = torch.randint(0, 512, (1, position))
    with torch.inference_mode():
        cache = model(ids[:, :-1], use_cache=True).past_key_values if position > 1 else None
        with FlopCounterMode(display=False) as counter:
            model(ids[:, -1:], past_key_values=cache, use_cache=True)
    assert counter.get_total_flops() == token_flops(shape, 512, position)


def test_costs_are_told_per_layer_kind() -> None:
    assert describe_layers(TINY) == "3 sliding and 1 full, window 64"
    assert describe_layers(replace(TINY, local_layers=0)) == "4 full"
    assert describe_parameters(TINY, 512).startswith("918,912 (embedding 65,536, attention ")
    table: Any = cost_table(TINY, 512)
    assert [str(column.header) for column in table.columns] == [
        "length",
        "sliding: cache",
        "sliding: FLOPs/token",
        "full: cache",
        "full: FLOPs/token",
        "cache, all",
        "if all full",
    ]
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["64", "256", "1,024"]
    assert cells[1] == ["49.2 kB"] * 3  # 3 layers x 64 tokens x 256 bytes
    assert cells[3][-1] == "262 kB"
    assert cells[5][-1] == "311 kB"


def test_largest_model_saves_two_thirds_of_its_cache_at_full_length() -> None:
    shape: HybridShape = PRESETS["exaone-4.0-32b"]
    full = kv_cache_bytes(replace(shape, local_layers=0), 131_072)
    assert full == 64 * 131_072 * 4096  # 34 GB
    assert kv_cache_bytes(shape, 131_072) == (48 * 4096 + 16 * 131_072) * 4096
