"""The free sections (`trainer:`, `lora:`), handed to the config class of the library that owns their keys."""

from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from posttrain.errors import UserError, did_you_mean

T = TypeVar("T")

# What a recipe says elsewhere and the stage hands to the config class itself.
SAID_ELSEWHERE = {
    "output_dir": "run",
    "run_name": "run",
    "seed": "seed",
    "data_seed": "seed",
    "max_length": "data.max_length",
    "packing": "data.pack_tokens",
    "padding_free": "data.pack_tokens",
    "eval_packing": "data.pack_tokens",
    "max_steps": "stages.0.limit_tokens",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
    "model_init_kwargs": "model",
    "chat_template_path": "model.chat_template",
    "use_vllm": "engine",
    "reward_weights": "rewards.0.weight",
    "refill_max_extra_batches": "refill.max_extra_batches",
    "refill_below": "refill.below",
}

# Sizes that the libraries take as they are, to fail at the first batch: after the model is loaded.
AT_LEAST_ONE = frozenset(
    {
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
        "steps_per_generation",
        "num_iterations",
        "num_generations",
        "max_completion_length",
    }
)


def make_config(cls: type[T], section: Mapping[str, Any], where: str, **fixed: Any) -> T:
    """Build the dataclass `cls` from a free section and from what the stage sets itself.

    Args:
        cls: a config dataclass, for instance TRL's `SFTConfig`.
        section: the keys of the recipe.
        where: the section's key in the recipe, for errors: "trainer".
        fixed: fields that the stage sets; a recipe may not.

    Raises:
        UserError: an unknown key, a key in `fixed`, text for a number, a size below 1, or values that `cls` itself
            refuses.
    """
    known = [item.name for item in fields(cls) if item.init]  # type: ignore[arg-type]  # T has no dataclass bound
    types = get_type_hints(cls)
    for key, value in section.items():
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}; need a field of {cls.__name__}")
        if key in fixed:
            elsewhere = SAID_ELSEWHERE.get(key)
            instead = f"use the recipe's `{elsewhere}`" if elsewhere else f"leave it out, it is {fixed[key]!r}"
            raise UserError(f"{where}.{key}: got {value!r}, but the stage sets this itself; {instead}")
        if _is_number(types[key]) and not isinstance(value, int | float | None):
            raise UserError(f"{where}.{key}: got {value!r}, need a number")
        if (choices := _choices(types[key])) and value not in choices:
            raise UserError(f"{where}.{key}: got {value!r}, need one of {', '.join(map(str, choices))}")
        if key in AT_LEAST_ONE and value is not None and value < 1:
            raise UserError(f"{where}.{key}: got {value!r}, need at least 1")
    try:
        return cls(**section, **fixed)
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error


def _is_number(hint: Any) -> bool:
    """Whether a field takes numbers (or true/false, or null) only: these hints can be trusted, those of text cannot."""
    return set(get_args(hint) or (hint,)) <= {int, float, bool, NoneType}


def _choices(hint: Any) -> tuple[Any, ...]:
    """What a field of words takes; empty where its hint does not name all of them."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if not all(get_origin(part) is Literal for part in parts):
        return ()
    return tuple(choice for part in parts for choice in get_args(part))
