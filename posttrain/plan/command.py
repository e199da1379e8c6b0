"""`posttrain plan RECIPE`: read, cost, try what would fit, print."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from posttrain.errors import UserError
from posttrain.plan import sampling, training
from posttrain.plan.changes import Asked, fullest, ways_to_fit
from posttrain.plan.costing import Plan, cost
from posttrain.plan.data import Counts, count
from posttrain.plan.devices import Device, device_named
from posttrain.plan.options import Options
from posttrain.plan.page import print_page, write_json
from posttrain.plan.shapes import Found, find_shape
from posttrain.plan.work import Reading, Work
from posttrain.recipe import (
    AnyRecipe,
    ContextRecipe,
    EvalRecipe,
    FilterRecipe,
    PairsRecipe,
    PrefRecipe,
    RLRecipe,
    SFTRecipe,
)

_READ: dict[type[AnyRecipe], Callable[[Any, Reading], Work | Iterable[Work]]] = {
    SFTRecipe: training.sft,
    ContextRecipe: training.context,
    PrefRecipe: training.pref,
    RLRecipe: sampling.rl,
    FilterRecipe: sampling.responses_only,
    PairsRecipe: sampling.responses_only,
    EvalRecipe: sampling.evaluation,
}


def plan_recipe(recipe: AnyRecipe, file: Path, options: Options, *, as_json: bool = False) -> None:
    """Print what the recipe's stage takes, and what would make it fit where it does not.

    Args:
        recipe: Of the file, overrides applied.
        file: Beside which the pipeline's other recipes lie.
        options: What it runs on and what is assumed.
        as_json: Print JSON in the place of tables.

    Raises:
        UserError: the stage takes next to nothing, the model's sizes cannot be found, or an option does not do.
    """
    plans, found, planned = make_plans(recipe, file, options)
    ways = {} if all(plan.fits for plan in plans) else ways_to_fit(Asked(recipe, options), planned)
    if as_json:
        write_json(plans, found, ways)
    else:
        print_page(file, plans, found, ways)


def make_plans(
    recipe: AnyRecipe, file: Path, options: Options
) -> tuple[list[Plan], Found, Callable[[Asked], list[Plan]]]:
    """The plans of a recipe, one for each rung of a ladder, the model they are for, and what plans a changed recipe.

    Raises:
        UserError: as `plan_recipe`.
    """
    if type(recipe) not in _READ:
        raise UserError(
            f"{file} is for stage {recipe.stage}, which takes minutes on any machine; "
            f"plan one of {', '.join(sorted(kind.stage for kind in _READ))}"
        )
    section = recipe.model  # type: ignore[union-attr]  # every stage that is planned has one
    found = find_shape(section, file, options.model)
    device = device_named(options.device or ("cpu" if section.dtype == "float32" else "h100-80gb"))
    counts = count(recipe)

    def planned(asked: Asked) -> list[Plan]:
        return _fitting(asked, file, found, device, counts)

    return planned(Asked(recipe, options)), found, planned


def _fitting(asked: Asked, file: Path, found: Found, device: Device, counts: Counts) -> list[Plan]:
    """With the sharding that was asked for; else the first usual one that fits, or the one that helps most."""
    tried = []
    for sharding in _shardings(asked, device):
        options = replace(asked.options, sharding=sharding)
        reading = Reading(file, found.shape, device, options, counts)
        read = _READ[type(asked.recipe)](asked.recipe, reading)
        plans = [cost(work, device, options) for work in ([read] if isinstance(read, Work) else read)]
        if all(plan.fits for plan in plans):
            return plans
        tried.append(plans)
    return min(tried, key=lambda plans: fullest(plans).total - fullest(plans).room)


def _shardings(asked: Asked, device: Device) -> tuple[str | None, ...]:
    """ZeRO-2 keeps float32 weights beside 16-bit ones, on one device too: without them small updates round away."""
    recipe, is_single = asked.recipe, (asked.options.devices or 1) == 1
    if asked.options.sharding is not None or not hasattr(recipe, "trainer"):
        return (asked.options.sharding,)
    if device.is_cpu:
        return ("none",) if is_single else ("ddp",)
    if recipe.model.dtype == "float32" or getattr(recipe, "lora", None):
        return ("none",) if is_single else ("ddp", "zero3")
    return ("zero2",) if is_single else ("zero2", "zero3")
