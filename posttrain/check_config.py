"""`posttrain check RECIPE --config-only`: what a recipe says about itself, where neither data nor model is at hand.

Everything that a stage builds from the recipe alone is built as the stage builds it: the trainer's arguments and LoRA's
by their own classes, the mixer, the rewards. No file of data and no model is read, and nothing is downloaded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from posttrain.errors import UserError
from posttrain.recipe import (
    AnyRecipe,
    ContextRecipe,
    DataSection,
    Decoding,
    EngineSection,
    EvalRecipe,
    FilterRecipe,
    ModelRecipe,
    PairsRecipe,
    PrefRecipe,
    ReportRecipe,
    RewardSpec,
    RLRecipe,
    SFTRecipe,
    parse_hub_path,
    resolved_yaml,
)
from posttrain.terminal import say_plan

Told = Mapping[str, str | Table]


def check_config(recipe: AnyRecipe) -> None:
    """Print the recipe, what follows from it alone, and what was not looked at.

    Raises:
        UserError: a setting that the stage, its trainer, its mixer or a plugin refuses.
    """
    say_plan(resolved_yaml(recipe), _CHECKS[type(recipe)](recipe))


def _model(recipe: ModelRecipe) -> Told:
    from posttrain.modelling.new import shape_of
    from posttrain.models.cost_table import cost_table, describe_layers, describe_parameters

    shape = shape_of(recipe)
    told: dict[str, str | Table] = {"layers": describe_layers(shape)}
    if shape.vocab_size is None:
        return {**told, "not checked": "the tokenizer, and so the number of parameters"}
    parameters = describe_parameters(shape, shape.vocab_size)
    unseen = {"not checked": "the tokenizer"}
    return {**told, "parameters": parameters, "costs": cost_table(shape, shape.vocab_size), **unseen}


def _sft(recipe: SFTRecipe) -> Told:
    from posttrain.plugins import build
    from posttrain.sft.stage import training_arguments
    from posttrain.training import lora_config

    arguments = training_arguments(recipe)
    lora_config(recipe.lora)
    build(recipe.mixer.use, recipe.mixer.args, "mixer")
    rows = "packs" if recipe.data.pack_tokens else "rows"
    longest = recipe.data.pack_tokens or recipe.data.max_length
    held_out = {"validation": _describe_sources(recipe.validation)} if recipe.validation else {}
    return {
        "data": _describe_sources(recipe.data),
        **held_out,
        "mixer": recipe.mixer.use,
        "step": _describe_step(arguments, rows, longest),
        "not checked": "data, tokenizer, chat template, model",
    }


def _context(recipe: ContextRecipe) -> Told:
    from posttrain.context.plan import stage_arguments

    steps = {}
    for stage in recipe.stages:
        pack_tokens = recipe.pack_tokens or stage.length
        step = _describe_step(stage_arguments(recipe, stage, pack_tokens), "packs", pack_tokens)
        steps[stage.name] = f"{stage.length:,} tokens long; {step}"
    sections = {"long": recipe.long, "replay": recipe.replay, "validation": recipe.validation}
    return {
        **steps,
        **{name: _describe_sources(section) for name, section in sections.items() if section},
        "not checked": "documents, rows, questions of the gate, tokenizer, chat template, model",
    }


def _rl(recipe: RLRecipe) -> Told:
    from posttrain.grading import Grader
    from posttrain.rl.stage import training_arguments
    from posttrain.training import lora_config

    arguments = training_arguments(recipe)
    lora_config(recipe.lora)
    Grader(recipe.rewards)
    limit = arguments.vllm_max_model_length if recipe.engine == "vllm" else None
    return {
        "data": _describe_sources(recipe.data),
        "rewards": _describe_rewards(recipe.rewards),
        "batch": _describe_batch(arguments),
        "prompts": _room_for_prompts("trainer.max_completion_length", arguments.max_completion_length, limit),
        "step": _describe_step(arguments, "responses"),
        "not checked": "data, gold answers, tokenizer, chat template, model, engine",
    }


def _sampling(recipe: FilterRecipe | PairsRecipe) -> Told:
    from posttrain.grading import GradingPool
    from posttrain.grading.groups import GroupGradingPool

    pool = GroupGradingPool if isinstance(recipe, PairsRecipe) else GradingPool
    pool(recipe.rewards, recipe.grading).close()
    return {
        "data": _describe_sources(recipe.data),
        "rewards": _describe_rewards(recipe.rewards),
        **_describe_decodings([recipe.decoding], recipe.engine),
        "not checked": "data, gold answers, tokenizer, chat template, model, engine",
    }


def _pref(recipe: PrefRecipe) -> Told:
    from posttrain.preference.stage import training_arguments
    from posttrain.training import lora_config

    arguments = training_arguments(recipe)
    lora_config(recipe.lora)
    unit = "groups" if recipe.objective == "group_simper" else "pairs"
    return {
        "objective": recipe.objective,
        "step": _describe_step(arguments, unit),
        "not checked": f"{unit}, tokenizer, chat template, model",
    }


def _eval(recipe: EvalRecipe) -> Told:
    from posttrain.evals.benchmark import check_benchmark
    from posttrain.grading import Grader

    for index, spec in enumerate(recipe.benchmarks):
        check_benchmark(spec, f"benchmarks.{index}")
        Grader(spec.rewards)
    Grader(recipe.rewards)
    names = [spec.name or spec.use.rpartition(":")[2] for spec in recipe.benchmarks]
    return {
        **(
            {"data": _describe_sources(recipe.data), "rewards": _describe_rewards(recipe.rewards)}
            if recipe.data
            else {}
        ),
        **({"benchmarks": ", ".join(names)} if names else {}),
        **_describe_decodings(recipe.decodings, recipe.engine),
        "not checked": "questions, gold answers, tokenizer, chat template, model, engine",
    }


def _report(recipe: ReportRecipe) -> Told:
    return {"stages": ", ".join(stage.name for stage in recipe.stages), "not checked": "the run folders"}


_CHECKS: dict[type[AnyRecipe], Callable[[Any], Told]] = {
    ModelRecipe: _model,
    SFTRecipe: _sft,
    ContextRecipe: _context,
    FilterRecipe: _sampling,
    RLRecipe: _rl,
    PairsRecipe: _sampling,
    PrefRecipe: _pref,
    EvalRecipe: _eval,
    ReportRecipe: _report,
}


def _describe_sources(section: DataSection) -> str:
    pinned = sum(parse_hub_path(source.path) is not None for source in section.sources)
    return f"{len(section.sources)} source(s), {pinned} of them data sets of the hub at a pinned commit"


def _describe_rewards(rewards: Sequence[RewardSpec]) -> str:
    return ", ".join(f"{spec.use} x {spec.weight:g}" for spec in rewards)


def _describe_step(arguments: Any, unit: str, longest: int | None = None) -> str:
    """An optimizer step of one process; how many there will be only the launcher knows."""
    count = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    tokens = f", {count * longest:,} tokens at most" if longest else ""
    length = f"{arguments.max_steps:,} steps" if arguments.max_steps > 0 else f"{arguments.num_train_epochs:g} epoch(s)"
    return f"{count:,} {unit}{tokens}, times the number of processes; {length}"


def _describe_batch(arguments: Any) -> str:
    """What a process has sampled before an update; groups are whole in every process, so any number of them will do."""
    responses = arguments.per_device_train_batch_size * arguments.steps_per_generation
    groups, size = responses // arguments.num_generations, arguments.num_generations
    return f"{groups:,} groups of {size}, {responses:,} responses, times the number of processes"


def _describe_decodings(decodings: Sequence[Decoding], engine: EngineSection) -> dict[str, str]:
    samples = sum(decoding.samples for decoding in decodings)
    longest = max(decoding.max_new_tokens for decoding in decodings)
    return {
        "responses": f"{samples} to a prompt, of at most {longest:,} tokens",
        "prompts": _room_for_prompts("max_new_tokens", longest, engine.max_model_len),
        "engine": engine.name,
    }


def _room_for_prompts(key: str, longest: int, limit: int | None) -> str:
    """What a response leaves of the engine's sequence.

    Raises:
        UserError: nothing.
    """
    if limit is None:
        return "as long as the model's context allows"
    if longest >= limit:
        raise UserError(f"{key}: got {longest:,}, which leaves nothing for a prompt of the engine's {limit:,} tokens")
    return f"at most {limit - longest:,} tokens beside a response of {longest:,}"
