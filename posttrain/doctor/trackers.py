"""The trackers that a recipe's `trainer.report_to` names: installed, and signed in where they need it."""

import netrc
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from posttrain.doctor.finding import Finding, fix, ok, warning
from posttrain.recipe import AnyRecipe

KNOWN = ("tensorboard", "trackio", "wandb")  # those that were tried
NONE = ("none", "all")


def check_trackers(recipe: AnyRecipe) -> Iterator[Finding]:
    """A line for each; TensorBoard, the default, needs nothing."""
    asked = getattr(recipe, "trainer", {}).get("report_to", [])
    for name in [asked] if isinstance(asked, str) else asked or []:
        if name not in NONE:
            yield check_tracker(name)


def check_tracker(name: str) -> Finding:
    """Whether metrics will arrive."""
    if name not in KNOWN:
        return warning("tracker", name, f"it was not tried with this version; {', '.join(KNOWN)} were")
    if find_spec(name) is None:
        return fix("tracker", f"{name} is not installed", f'pip install "posttrain[{name}]", or take tensorboard')
    if name == "wandb" and os.environ.get("WANDB_MODE") not in ("offline", "disabled") and not _has_wandb_key():
        return fix("tracker", "wandb has no key", "wandb login, or WANDB_API_KEY, or WANDB_MODE=offline")
    return ok("tracker", name)


def _has_wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(file).authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
