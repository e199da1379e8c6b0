"""Estimates of a training step's memory against measured ones, and how the parts behave."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from posttrain.models.activations import Adapters, Rows
from posttrain.models.build import PRESETS, HybridShape, model_config
from posttrain.models.decoder import DecoderShape, read_decoder
from posttrain.models.memory import Training, generation, peak

SCRIPT = Path(__file__).with_name("measured_step.py")
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
MEGABYTES = 2**20


def decoder(sizes: dict[str, Any]) -> DecoderShape:
    return read_decoder(model_config(HybridShape(**sizes)))


def measured(sizes: dict[str, Any], documents: tuple[int, ...], training: Training) -> int:
    """Bytes that the SFT trainer takes at its peak, in a process of its own."""
    asked = {
        "shape": sizes,
        "documents": documents,
        "dtype": "float32" if training.number == 4 else "bfloat16",
        "rank": training.adapters.rank if training.adapters else 0,
        "accumulation": training.accumulation,
        "checkpointing": training.gradient_checkpointing,
    }
    # Else glibc keeps what is freed, and the peak is that of its habits.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), json.dumps(asked)]
    done = subprocess.run(
        command, env={**os.environ, **allocator}, capture_output=True, text=True, timeout=600, check=False
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
    assert estimate.total == pytest.approx(measured(sizes, documents, training), rel=0.15)
