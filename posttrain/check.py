"""`posttrain check RECIPE`: read everything a stage would read, except weights, and print the plan."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from posttrain.errors import UserError
from posttrain.recipe import (
    AnyRecipe,
    Decoding,
    EvalRecipe,
    FilterRecipe,
    PairsRecipe,
    PrefRecipe,
    ReportRecipe,
    RLRecipe,
    SamplingRecipe,
    SFTRecipe,
    resolved_yaml,
)
from posttrain.terminal import console, say

Plan = dict[str, str | Table]


def check_recipe(recipe: AnyRecipe) -> None:
    """Validate the recipe against its data, its model folder and the trainer's own settings, then print the plan.

    Raises:
        UserError: whatever the stage itself would refuse before it loads weights.
    """
    plan = _PLANS[type(recipe)](recipe)
    say(escape(resolved_yaml(recipe).rstrip()))
    say("")
    for what, value in plan.items():
        if isinstance(value, Table):
            console.print(value, soft_wrap=False)
        else:
            say(escape(f"{what:<12} {value}"))


def _sft(recipe: SFTRecipe) -> Plan:
    from posttrain.data.intake import describe_intake, take_in
    from posttrain.data.mix_table import mix_table
    from posttrain.models.load import load_tokenizer, read_config
    from posttrain.sft.stage import plan, training_arguments
    from posttrain.training import lora_config, require_steps, samples_per_step

    tokenizer = load_tokenizer(recipe.model)
    intakes = take_in(recipe.data, tokenizer)
    mixed, arguments = plan(recipe, intakes), training_arguments(recipe)
    lora_config(recipe.lora)
    require_steps(len(mixed.rows), samples_per_step(arguments), "rows in the mix")
    longest = max(len(row.input_ids) for row in mixed.rows)
    _require_fits(longest, read_config(recipe.model), "the longest row")
    tokens = "; ".join(
        f"{mode}: {n:,} trained of {mixed.all_tokens[mode]:,}" for mode, n in mixed.trained_tokens.items()
    )
    return {
        "data": f"\n{'':<13}".join(describe_intake(intakes)) or "nothing set aside, inferred, converted or repeated",
        "rows": f"{len(mixed.rows):,} (longest {longest} tokens)",
        "tokens": tokens,
        "ratio": f"{mixed.ratio:.3f} reasoning : non-reasoning, in trained tokens",
        "steps": _steps(arguments, len(mixed.rows)),
        "mix": mix_table(mixed.plan),
    }


def _rl(recipe: RLRecipe) -> Plan:
    from posttrain.inference.engine import context_length
    from posttrain.models.load import read_config
    from posttrain.rl.stage import check_gold, check_lengths, describe, training_arguments

    rows, lengths = _prompts(recipe)
    arguments = training_arguments(recipe)
    check_lengths(lengths, arguments, context_length(read_config(recipe.model)))
    return {
        "prompts": f"{len(rows):,} (longest {max(lengths)} tokens)",
        "batch": describe(arguments, len(rows)).strip(),
        "steps": _steps(arguments, len(rows) * arguments.num_generations),
        "rewards": ", ".join(f"{spec.use} x {spec.weight:g}" for spec in recipe.rewards),
        "gold": check_gold(recipe, rows),
    }


def _filter(recipe: FilterRecipe) -> Plan:
    from posttrain.data.rows import read_all
    from posttrain.filter.stage import prepare
    from posttrain.grading import GradingPool
    from posttrain.models.load import load_tokenizer

    with GradingPool(recipe.rewards, recipe.grading) as grader:
        prepare(recipe, read_all(recipe.data.sources), load_tokenizer(recipe.model), grader)
    return _sampling(recipe)


def _sampling(recipe: SamplingRecipe) -> Plan:
    rows, lengths = _prompts(recipe)
    return _answers(recipe, [recipe.decoding], len(rows), max(lengths))


def _eval(recipe: EvalRecipe) -> Plan:
    from posttrain.evals.stage import prepare

    plan = prepare(recipe)
    sizes = ", ".join(f"{name} {size:,}" for name, size in plan.suite.sizes.items())
    return {
        "questions": sizes,
        **_answers(recipe, plan.decodings, len(plan.suite.questions), plan.longest_prompt),
        "rewards": ", ".join(spec.use for spec in plan.suite.rewards),
        "gold": plan.gold,
    }


def _answers(
    recipe: SamplingRecipe | EvalRecipe, decodings: Sequence[Decoding], num_prompts: int, longest_prompt: int
) -> Plan:
    longest = max(decoding.max_new_tokens for decoding in decodings)
    return {
        "prompts": f"{num_prompts:,} (longest {longest_prompt} tokens)",
        "responses": f"{sum(decoding.samples for decoding in decodings) * num_prompts:,} of at most {longest} tokens",
        "engine": recipe.engine.name,
    }


def _pref(recipe: PrefRecipe) -> Plan:
    import pyarrow.parquet

    from posttrain.models.load import load_tokenizer
    from posttrain.preference.stage import training_arguments

    load_tokenizer(recipe.model)
    for path in recipe.pairs:
        if not Path(path).is_file():
            raise UserError(f"pairs file '{path}' does not exist; `posttrain pairs` writes it")
    num_pairs = sum(pyarrow.parquet.read_metadata(path).num_rows for path in recipe.pairs)
    return {"pairs": f"{num_pairs:,}", "steps": _steps(training_arguments(recipe), num_pairs)}


def _report(recipe: ReportRecipe) -> Plan:
    from posttrain.report.load import load_stage

    for stage in recipe.stages:
        load_stage(stage.name, Path(stage.run), Path(stage.eval) if stage.eval else None)
    return {"stages": ", ".join(stage.name for stage in recipe.stages)}


_PLANS: dict[type[AnyRecipe], Callable[[Any], Plan]] = {
    SFTRecipe: _sft,
    FilterRecipe: _filter,
    RLRecipe: _rl,
    PairsRecipe: _sampling,
    EvalRecipe: _eval,
    PrefRecipe: _pref,
    ReportRecipe: _report,
}


def _prompts(recipe: RLRecipe | SamplingRecipe) -> tuple[list[dict[str, Any]], list[int]]:
    """The rows and the length of each prompt in tokens; the rewards are loaded along the way."""
    from posttrain.chat import encode_prompt, render_prompt
    from posttrain.data.rows import read_all, split_prompt
    from posttrain.grading import Grader
    from posttrain.models.load import load_tokenizer, read_config

    Grader(recipe.rewards)
    tokenizer = load_tokenizer(recipe.model)
    rows = read_all(recipe.data.sources)
    prompts = [render_prompt(tokenizer, split_prompt(row), row["mode"], row.get("tools")) for row in rows]
    lengths = [len(encode_prompt(tokenizer, prompt)) for prompt in prompts]
    _require_fits(max(lengths), read_config(recipe.model), "the longest prompt")
    return rows, lengths


def _require_fits(length: int, config: Any, what: str) -> None:
    context = getattr(config, "max_position_embeddings", math.inf)
    if length > context:
        raise UserError(
            f"{what} has {length} tokens, the model's context is {context}; leave it out or extend the model"
        )


def _steps(arguments: Any, num_samples: int) -> str:
    from posttrain.training import samples_per_step

    batch = samples_per_step(arguments)
    per_epoch = math.ceil(num_samples / batch)  # the last step of an epoch takes what is left
    steps = arguments.max_steps if arguments.max_steps > 0 else math.ceil(arguments.num_train_epochs * per_epoch)
    return f"{steps:,} optimizer steps of {batch} samples on {arguments.world_size} process(es)"
