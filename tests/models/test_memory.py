"""Estimates of a training step's memory against measured ones, and how the parts behave."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MinistralConfig, Qwen2Config, Qwen3Config

from posttrain.models.activations import Adapters, Rows
from posttrain.models.build import PRESETS, HybridShape, model_config
from posttrain.models.costs import kv_cache_bytes, parameters
from posttrain.models.decoder import DecoderShape, read_decoder
from posttrain.models.memory import Training, generation, peak, trained_parameters

PROJECT = Path(__file__).parents[2]
TINY = {"vocab_size": 512, "max_position_embeddings": 4096}
LARGER = {
    "hidden_size": 512,
    "num_layers": 8,
    "intermediate_size": 1024,
    "num_heads": 16,
    "num_kv_heads": 4,
    "sliding_window": 256,
    "vocab_size": 8192,
    "max_position_embeddings": 4096,
    "initializer_range": 0.02,
}
PACK = (1000, 200, 1500, 300, 1096)


def decoder(sizes: dict[str, Any]) -> DecoderShape:
    return read_decoder(model_config(HybridShape(**sizes)))


def measured(sizes: dict[str, Any], work: list[list[int]], training: Training, batch: int = 1) -> int:
    """Bytes that a trainer takes at its peak, in a process of its own; `work` as in `tests.models.trainers`."""
    how = {
        "batch": batch,
        "accumulation": training.accumulation,
        "checkpointing": training.gradient_checkpointing,
        "rank": training.adapters.rank if training.adapters else 0,
        "dtype": "float32" if training.number == 4 else "bfloat16",
    }
    # Else glibc keeps what is freed, and the peak is that of its habits.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    asked = json.dumps({"shape": sizes, "work": work, "how": how})
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.measured_step", asked],
        env={**os.environ, **allocator},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "documents", "training"),
    [
        pytest.param(TINY, (4096,), Training(), id="tiny hybrid, 4,096 tokens"),
        pytest.param(TINY, PACK, Training(), id="tiny hybrid, packed"),
        pytest.param(TINY, PACK, Training(gradient_checkpointing=True), id="tiny hybrid, packed, checkpointing"),
        pytest.param(TINY, PACK, Training(adapters=Adapters(8)), id="tiny hybrid, packed, LoRA"),
        pytest.param(LARGER, PACK, Training(), id="larger, packed"),
        pytest.param(LARGER, PACK, Training(gradient_checkpointing=True), id="larger, packed, checkpointing"),
        pytest.param(LARGER, PACK, Training(adapters=Adapters(8)), id="larger, packed, LoRA"),
        pytest.param(LARGER, (300, 212), Training(accumulation=2), id="larger, gradients outweigh activations"),
    ],
)
def test_estimate_is_within_15_percent_of_a_measured_step(
    sizes: dict[str, Any], documents: tuple[int, ...], training: Training
) -> None:
    tokens = sum(documents)
    rows = Rows(tokens, documents=documents if len(documents) > 1 else (), trained=tokens - len(documents))
    estimate = peak(decoder(sizes), rows, training)
    assert estimate.total == pytest.approx(measured(sizes, [list(documents)], training), rel=0.15)


@pytest.mark.slow
def test_estimate_is_within_15_percent_of_a_measured_rl_step() -> None:
    """Four responses of 300 tokens to a prompt of 100, two at a time; the reference model stays beside the policy."""
    training = Training(accumulation=2, reference=True)
    estimate = peak(decoder(LARGER), Rows(400, rows=2, trained=600), training)
    assert estimate.total == pytest.approx(measured(LARGER, [[100], [300] * 4], training, batch=2), rel=0.15)


@pytest.mark.slow
def test_estimate_is_within_15_percent_of_a_measured_preference_step() -> None:
    """One pair, whose prompt our attention computes once for both responses: twice would be 1.4 times the peak."""
    rows = Rows(1400, documents=(1000,), branches=((1000, 250), (1000, 150)), trained=400)
    estimate = peak(decoder(LARGER), rows, Training())
    assert estimate.total == pytest.approx(measured(LARGER, [[1000], [250], [150]], Training()), rel=0.15)


@pytest.mark.parametrize("config_class", [LlamaConfig, MinistralConfig, Qwen2Config, Qwen3Config])
@pytest.mark.parametrize("is_tied", [True, False])
def test_parameters_of_other_families_are_those_of_the_model(config_class: Any, is_tied: bool) -> None:
    sizes = {"hidden_size": 96, "intermediate_size": 208, "num_hidden_layers": 3, "vocab_size": 128, "head_dim": 24}
    config = config_class(**sizes, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=is_tied)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shape = read_decoder(config)
    assert sum(parameters(shape, shape.vocab_size).values()) == sum(weight.numel() for weight in model.parameters())


SHARDED = {  # bytes of a parameter on each of 8 devices, in 16 bit: weights, optimizer, gradients
    "none": (2, 4, 2),
    "zero1": (2, 12 / 8, 2),
    "zero2": (2, 12 / 8, 4 / 8),
    "zero3": (2 / 8, 12 / 8, 4 / 8),
    "fsdp2": (4 / 8, 8 / 8, 4 / 8),
}


@pytest.mark.parametrize("sharding", SHARDED)
def test_each_kind_of_sharding_divides_what_it_divides(sharding: str) -> None:
    shape = read_decoder(model_config(PRESETS["exaone-4.0-1.2b"]))
    every = trained_parameters(shape, None)
    training = Training(number=2, attention="flash", sharding=sharding, processes=8, accumulation=2, on_cpu=False)
    parts = peak(shape, Rows(1024, trained=1024), training).parts
    for name, per_parameter in zip(("weights", "optimizer", "gradients"), SHARDED[sharding], strict=True):
        assert parts[name] == pytest.approx(every * per_parameter, rel=1e-6)


def test_ddp_holds_every_gradient_twice() -> None:
    shape = decoder(TINY)
    parts = peak(shape, Rows(16, trained=16), Training(sharding="ddp", processes=2)).parts
    assert parts["exchange"] == 4 * trained_parameters(shape, None)


def test_adapters_are_all_that_has_gradients_and_states() -> None:
    """Rank 8 on queries (128 to 128) and values (128 to 64) of 4 layers."""
    adapters = Adapters(8, frozenset({"q_proj", "v_proj"}))
    trained = 4 * 8 * (128 + 128 + 128 + 64)
    assert trained_parameters(decoder(TINY), adapters) == trained
    parts = peak(decoder(TINY), Rows(64, trained=64), Training(adapters=adapters, accumulation=2)).parts
    assert (parts["optimizer"], parts["gradients"]) == (8 * trained, 4 * trained)


def test_head_does_not_grow_with_vocabulary_times_length() -> None:
    shape = decoder({**TINY, "vocab_size": 65_536})
    short, long = (peak(shape, Rows(tokens, trained=tokens), Training()).parts["head"] for tokens in (1024, 16_384))
    assert long - short <= 2 * (16_384 - 1024) * 128 * 4  # states and their gradients; no logits


def test_sampling_takes_weights_optimizer_and_a_cache_per_sequence() -> None:
    shape = decoder(TINY)
    memory = generation(shape, sequences=6, length=300, training=Training())
    assert memory.parts["KV cache"] == 6 * kv_cache_bytes(shape, 300, 4)
    assert memory.total == 12 * trained_parameters(shape, None) + memory.parts["KV cache"]
