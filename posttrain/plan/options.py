"""What a plan assumes where the recipe does not say it: what it runs on, how well that runs, how long texts are."""

import argparse
from dataclasses import dataclass, fields
from typing import Any

from posttrain.errors import UserError

SHARDINGS = ("none", "ddp", "zero1", "zero2", "zero3", "fsdp2")  # as in posttrain.models.memory, which costs an import


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `posttrain plan`; None: follows from the recipe, and the plan says how.

    Attributes:
        model: A model in the place of the recipe's: a preset, a known name, a folder or a hub id.
        device: One of `posttrain.plan.devices`.
        devices: How many in all.
        rollout_devices: How many of them sample for RL, where a server does.
        sharding: How training devices share the model.
        rows: Of the data: rows, prompts, pairs or questions.
        tokens_per_row: Mean tokens of an SFT row.
        prompt_tokens: Mean tokens of a prompt.
        response_tokens: Mean tokens of a response.
        grading_seconds: CPU time that the rewards take for a response.
        mfu: Share of the peak at which matrices and attention run, recomputation included in what they do.
        bandwidth_share: Share of a memory's or a link's bandwidth that is reached.
        decode_overhead: Seconds of a decoding step beside reading and computing: scheduler, launches, exchanges.
        usable: Share of the memory that a plan may fill: the rest is CUDA's context, the libraries', fragmentation.
        price_per_hour: Of one device.
    """

    model: str | None = None
    device: str | None = None
    devices: int | None = None
    rollout_devices: int | None = None
    sharding: str | None = None
    rows: int | None = None
    tokens_per_row: int | None = None
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    grading_seconds: float = 0.02
    mfu: float = 0.4
    bandwidth_share: float = 0.6
    decode_overhead: float = 0.003
    usable: float = 0.95
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and value <= 0:
                raise UserError(f"--{item.name.replace('_', '-')}: got {value:g}, need a number above 0")
        for name in ("mfu", "bandwidth_share", "usable"):
            if getattr(self, name) > 1:
                raise UserError(f"--{name.replace('_', '-')}: got {getattr(self, name):g}, need a share of at most 1")


HELP: dict[str, tuple[Any, str, str]] = {
    "model": (str, "NAME", "another model: a preset, a folder or a hub id (default: the recipe's)"),
    "device": (str, "NAME", "a100-80gb, h100-80gb, h200, b200, ... (default: h100-80gb; cpu for float32)"),
    "devices": (int, "N", "how many in all (default: as few as the recipe can be run on)"),
    "rollout_devices": (int, "N", "of them, how many an RL server samples on (default: half, 8 at most)"),
    "sharding": (str, "HOW", f"{', '.join(SHARDINGS)} (default: zero2 where it fits, else zero3)"),
    "rows": (int, "N", "rows, prompts, pairs or questions (default: the data's, where they are here)"),
    "tokens_per_row": (int, "N", "mean tokens of an SFT row (default: the data's, or a quarter of the limit)"),
    "prompt_tokens": (int, "N", "mean tokens of a prompt (default: the data's, or 256)"),
    "response_tokens": (int, "N", "mean tokens of a response (default: the data's, or a quarter of the limit)"),
    "grading_seconds": (float, "S", "CPU time of the rewards for a response (default: 0.02)"),
    "mfu": (float, "SHARE", "of the peak that training reaches (default: 0.4)"),
    "bandwidth_share": (float, "SHARE", "of memory and link bandwidth that is reached (default: 0.6)"),
    "price_per_hour": (float, "PRICE", "of one device"),
}


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of `posttrain plan`."""
    defaults = {item.name: item.default for item in fields(Options)}
    for name, (kind, metavar, text) in HELP.items():
        choices = SHARDINGS if name == "sharding" else None
        option = f"--{name.replace('_', '-')}"
        command.add_argument(option, type=kind, choices=choices, metavar=metavar, default=defaults[name], help=text)
    command.add_argument("--json", action="store_true", help="print the plan as JSON")


def options_of(args: argparse.Namespace) -> Options:
    """The options as they were given."""
    return Options(**{name: getattr(args, name) for name in HELP})
