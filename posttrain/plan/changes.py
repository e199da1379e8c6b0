"""What would make a plan fit: settings of the recipe and of the launch, each tried by planning anew."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from posttrain.plan.costing import Load, Plan
from posttrain.plan.options import Options
from posttrain.recipe import ContextRecipe, EvalRecipe, PrefRecipe, RLRecipe, SamplingRecipe, SFTRecipe

MOST_DEVICES = 512
SHORTEST = 2048  # tokens of a pack or a response
LORA = {"r": 32, "target_modules": "all-linear"}


class Asked(NamedTuple):
    """What is planned."""

    recipe: Any
    options: Options


Planned = Callable[[Asked], list[Plan]]
Try = Callable[[Asked, Planned], Iterator[tuple[str, Asked]]]


@dataclass(frozen=True, slots=True)
class Change:
    """A change in words, and the plans with it and with all changes before it."""

    words: str
    plans: list[Plan]


def ways_to_fit(asked: Asked, planned: Planned) -> dict[str, list[Change]]:
    """Changes in the order in which one would make them, each on top of the ones before, until the plan fits.

    Returns:
        By the way that is gone; left out is a way that leads nowhere or is that of another name, and a change that
        does not help.
    """
    less = (_checkpoint, _batch, _sleep, _offload)
    ways = {
        "on these devices": (*less, _shorten),
        "with adapters": (*less, _adapt, _shorten),
        "on more devices": (_checkpoint, _batch, _serve, _spread, _split_engine),
    }
    found: dict[str, list[Change]] = {}
    for name, way in ways.items():
        steps = _follow(way, asked, planned)
        is_new = [step.words for step in steps] not in [[step.words for step in others] for others in found.values()]
        if steps and _missing(steps[-1].plans) <= 0 and is_new:
            found[name] = steps
    return found


def fullest(plans: Sequence[Plan]) -> Load:
    """The load with the least room left, or the most missing."""
    return max((load for plan in plans for load in plan.loads), key=lambda load: load.total - load.room)


def _follow(way: Sequence[Try], asked: Asked, planned: Planned) -> list[Change]:
    steps: list[Change] = []
    missing = _missing(planned(asked))
    for attempt in way:
        if missing <= 0:
            break
        for words, changed in attempt(asked, planned):
            plans = planned(changed)
            if _missing(plans) < missing:
                steps.append(Change(words, plans))
                asked, missing = changed, _missing(plans)
                break
    return steps


def _missing(plans: Sequence[Plan]) -> float:
    """Bytes; at most 0 where everything fits."""
    load = fullest(plans)
    return load.total - load.room


def _checkpoint(asked: Asked, _planned: Planned) -> Iterator[tuple[str, Asked]]:
    if hasattr(asked.recipe, "trainer") and not asked.recipe.trainer.get("gradient_checkpointing"):
        yield "trainer.gradient_checkpointing=true", _with_trainer(asked, gradient_checkpointing=True)


def _batch(asked: Asked, _planned: Planned) -> Iterator[tuple[str, Asked]]:
    """A micro-batch of one, and as many more of them: the step stays what it is."""
    if not isinstance(asked.recipe, SFTRecipe | RLRecipe | PrefRecipe):
        return
    trainer, is_packed = asked.recipe.trainer, getattr(getattr(asked.recipe, "data", None), "pack_tokens", None)
    size = trainer.get("per_device_train_batch_size", 1 if is_packed else 8)  # TRL's
    if size > 1:
        settings = {
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": size * trainer.get("gradient_accumulation_steps", 1),
        }
        yield " ".join(f"trainer.{key}={value}" for key, value in settings.items()), _with_trainer(asked, **settings)


def _sleep(asked: Asked, _planned: Planned) -> Iterator[tuple[str, Asked]]:
    if _is_colocated(asked.recipe):
        yield "trainer.vllm_enable_sleep_mode=true", _with_trainer(asked, vllm_enable_sleep_mode=True)


def _offload(asked: Asked, planned: Planned) -> Iterator[tuple[str, Asked]]:
    is_possible = isinstance(asked.recipe, SFTRecipe | ContextRecipe | PrefRecipe)
    if is_possible and not planned(asked)[0].device.is_cpu:
        yield "trainer.activation_offloading=true", _with_trainer(asked, activation_offloading=True)


def _shorten(asked: Asked, planned: Planned) -> Iterator[tuple[str, Asked]]:
    """The longest pack or response for which there is room, in halves; else the shortest."""
    found = None
    while (shorter := _halved(found[1] if found else asked)) is not None:
        found = shorter
        if _missing(planned(found[1])) <= 0:
            break
    if found is not None:
        yield found


def _halved(asked: Asked) -> tuple[str, Asked] | None:
    recipe = asked.recipe
    if isinstance(recipe, SFTRecipe) and (recipe.data.pack_tokens or 0) >= 2 * SHORTEST:
        tokens = (recipe.data.pack_tokens or 0) // 2
        longest = min(tokens, recipe.data.max_length or tokens)
        data = replace(recipe.data, pack_tokens=tokens, max_length=longest)
        words = f"data.pack_tokens={tokens} data.max_length={longest}"
        return words, asked._replace(recipe=replace(recipe, data=data))
    if isinstance(recipe, RLRecipe) and recipe.trainer.get("max_completion_length", 0) >= 2 * SHORTEST:
        tokens = recipe.trainer["max_completion_length"] // 2
        settings = {"max_completion_length": tokens}
        if limit := recipe.trainer.get("vllm_max_model_length"):
            settings["vllm_max_model_length"] = limit - tokens
        return " ".join(f"trainer.{key}={value}" for key, value in settings.items()), _with_trainer(asked, **settings)
    return None


def _adapt(asked: Asked, _planned: Planned) -> Iterator[tuple[str, Asked]]:
    if isinstance(asked.recipe, SFTRecipe | RLRecipe | PrefRecipe) and asked.recipe.lora is None:
        words = f"lora='{{r: {LORA['r']}, target_modules: {LORA['target_modules']}}}'"
        yield words, asked._replace(recipe=replace(asked.recipe, lora=LORA))


def _serve(asked: Asked, planned: Planned) -> Iterator[tuple[str, Asked]]:
    if _is_colocated(asked.recipe) and not planned(asked)[0].device.is_cpu:
        served = _with_trainer(asked, vllm_mode="server")
        devices = max(2, asked.options.devices or 1)
        options = replace(asked.options, devices=devices)
        yield f"trainer.vllm_mode=server --devices {devices}", Asked(served.recipe, options)


def _spread(asked: Asked, planned: Planned) -> Iterator[tuple[str, Asked]]:
    """The fewest devices on which it fits, else the most that are tried."""
    if not hasattr(asked.recipe, "trainer"):
        return
    devices = asked.options.devices or 1
    while devices < MOST_DEVICES:
        devices *= 2
        spread = asked._replace(options=replace(asked.options, devices=devices))
        if _missing(planned(spread)) <= 0 or devices >= MOST_DEVICES:
            yield f"--devices {devices}", spread
            return


def _split_engine(asked: Asked, planned: Planned) -> Iterator[tuple[str, Asked]]:
    """One engine over more devices, for a stage that only samples."""
    if not isinstance(asked.recipe, SamplingRecipe | EvalRecipe) or asked.recipe.engine.name != "vllm":
        return
    engine = asked.recipe.engine
    for parallel in (2, 4, 8):
        recipe = replace(asked.recipe, engine=replace(engine, tensor_parallel=parallel))
        split = Asked(recipe, replace(asked.options, devices=max(parallel, asked.options.devices or 1)))
        if parallel > engine.tensor_parallel and _missing(planned(split)) <= 0:
            yield f"engine.tensor_parallel={parallel}", split
            return


def _with_trainer(asked: Asked, **settings: Any) -> Asked:
    return asked._replace(recipe=replace(asked.recipe, trainer={**asked.recipe.trainer, **settings}))


def _is_colocated(recipe: Any) -> bool:
    return (
        isinstance(recipe, RLRecipe)
        and recipe.engine == "vllm"
        and recipe.trainer.get("vllm_mode", "colocate") == "colocate"
    )
