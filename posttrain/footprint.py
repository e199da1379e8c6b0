"""The memory that a recipe's training takes on a device: its settings and its environment, read for the formulas."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from posttrain.errors import UserError
from posttrain.models.activations import PROJECTIONS, Adapters, Rows
from posttrain.models.decoder import read_decoder
from posttrain.models.load import attention_of, read_config
from posttrain.models.memory import FLOAT32, Memory, Training, generation, peak
from posttrain.recipe import ModelSection

GIGABYTE = 1e9


def training_of(section: ModelSection, arguments: Any, lora: Any) -> Training:
    """How the recipe trains, from the trainer's resolved arguments and what accelerate was launched with."""
    sharding, config = sharding_of(arguments), read_config(section)
    return Training(
        number=FLOAT32 if section.dtype == "float32" else 2,
        adapters=None if lora is None else adapters_of(lora, config.model_type),
        gradient_checkpointing=bool(arguments.gradient_checkpointing),
        activation_offloading=bool(getattr(arguments, "activation_offloading", False)),
        attention=attention_of(section) or "sdpa",
        accumulation=arguments.gradient_accumulation_steps,
        sharding=sharding,
        processes=arguments.world_size,
        on_cpu=bool(arguments.use_cpu),
    )


def sharding_of(arguments: Any) -> str:
    """DeepSpeed's stage or FSDP, from the recipe's own arguments or from `accelerate launch`; else DDP or nothing."""
    if (deepspeed := getattr(arguments, "hf_deepspeed_config", None)) is not None:
        stage = int(deepspeed.get_value("zero_optimization.stage", 0))
    elif os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
    else:
        stage = 0
    if stage:
        return f"zero{stage}"
    if not arguments.use_cpu and (arguments.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"):
        return "fsdp2"  # on a CPU accelerate runs DDP in its place
    return "ddp" if arguments.world_size > 1 else "none"


def adapters_of(lora: Any, model_type: str) -> Adapters:
    """The projections that a `LoraConfig` adapts; what it leaves open is PEFT's choice for the model's type."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    asked = lora.target_modules or TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model_type, [])
    if asked == "all-linear":
        return Adapters(lora.r)
    paths = {
        name: f"model.layers.0.{'self_attn' if name in ('q_proj', 'k_proj', 'v_proj', 'o_proj') else 'mlp'}.{name}"
        for name in PROJECTIONS
    }
    if isinstance(asked, str):
        found = {name for name, path in paths.items() if re.fullmatch(asked, path)}
    else:
        found = {name for name, path in paths.items() if any(path.endswith(f".{end}") for end in asked)}
    return Adapters(lora.r, frozenset(found))


def describe_memory(section: ModelSection, rows: Rows, arguments: Any, lora: Any, **also: int) -> str:
    """The peak on a device, in a line, or why there is no estimate.

    Args:
        section: The model.
        rows: The largest micro-batch.
        arguments: The trainer's.
        lora: The `LoraConfig`; None: all weights are trained.
        also: `reference`: 1 where a frozen copy of the model stays in memory; `sequences` and `length`: what the
            trainer itself samples at a time.
    """
    try:
        shape = read_decoder(read_config(section))
    except UserError as error:
        return f"not estimated: {error}"
    training = replace(training_of(section, arguments, lora), reference=bool(also.get("reference")))
    worst = peak(shape, rows, training)
    if also.get("sequences"):
        sampling = generation(shape, also["sequences"], also["length"], training)
        worst = max(worst, sampling, key=lambda memory: memory.total)
    return describe(worst, training)


def describe(memory: Memory, training: Training) -> str:
    """The sum, the parts from the largest on, and the moment."""
    parts = sorted(memory.parts.items(), key=lambda part: -part[1])
    told = ", ".join(f"{name} {size(number)}" for name, number in parts if number)
    where = training.sharding if training.sharding != "none" else "one process"
    if training.processes > 1:
        where += f" over {training.processes} processes"
    host = f"; on the host {size(memory.on_host)}" if memory.on_host else ""
    return f"about {size(memory.total)} at the peak ({told}){host}; at {memory.moment}, {where}"


def size(number: int) -> str:
    """Bytes in gigabytes or megabytes."""
    return f"{number / GIGABYTE:.2f} GB" if number >= GIGABYTE / 10 else f"{number / 1e6:.1f} MB"


def fullest(lengths: Sequence[int], bounds: Sequence[int]) -> tuple[int, int]:
    """The first row and the one behind the last of the sample with the most tokens."""
    return max(pairwise(bounds), key=lambda ends: sum(lengths[ends[0] : ends[1]]))
