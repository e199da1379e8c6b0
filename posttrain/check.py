"""`posttrain check RECIPE`: read everything a stage would read, except weights, and print the plan."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from posttrain.chat import Mode
from posttrain.errors import UserError
from posttrain.recipe import (
    AnyRecipe,
    ContextRecipe,
    Decoding,
    EvalRecipe,
    FilterRecipe,
    ModelRecipe,
    PairsRecipe,
    PrefRecipe,
    ReportRecipe,
    RLRecipe,
    SamplingRecipe,
    SFTRecipe,
    resolved_yaml,
)
from posttrain.terminal import console, say_plan

if TYPE_CHECKING:
    from posttrain.examples import Example


class Checked(NamedTuple):
    """What a stage would do, and rows or prompts as its model will see them; None: the stage has none."""

    plan: Mapping[str, str | Table]
    examples: "Iterator[Example] | None" = None


def check_recipe(recipe: AnyRecipe, show: int = 0) -> None:
    """Validate the recipe against its data, its model folder and the trainer's own settings, then print the plan.

    Below it come `show` rows or prompts as the model will see them.

    Raises:
        UserError: whatever the stage itself would refuse before it loads weights; or there is nothing to show.
    """
    plan, examples = _CHECKS[type(recipe)](recipe)
    if show and examples is None:
        raise UserError(f"got --show {show}, but a {recipe.stage} recipe has no rows to show; leave --show out")
    say_plan(resolved_yaml(recipe), plan)
    if show and examples is not None:
        from posttrain.examples import show as show_examples

        show_examples(islice(examples, show), console)


def _model(recipe: ModelRecipe) -> Checked:
    from posttrain.modelling.new import shape_of, vocabulary
    from posttrain.models.cost_table import cost_table, describe_layers, describe_parameters

    shape = shape_of(recipe)
    vocab_size = vocabulary(recipe, shape)
    return Checked(
        {
            "layers": describe_layers(shape),
            "parameters": describe_parameters(shape, vocab_size),
            "costs": cost_table(shape, vocab_size),
        }
    )


def _context(recipe: ContextRecipe) -> Checked:
    from posttrain.context.plan import plan_stages, short_rows
    from posttrain.context.stage import describe
    from posttrain.models.load import load_tokenizer

    tokenizer = load_tokenizer(recipe.model)
    plans, rows = plan_stages(recipe, tokenizer), short_rows(recipe, tokenizer)
    watched = f"{len(rows):,} rows, whose loss may rise by {recipe.max_short_regression:.1%}"
    told: dict[str, str | Table] = {plan.stage.name: describe(plan) for plan in plans}
    return Checked({**told, "short loss": watched if rows else "not watched, as there is no `validation`"})


def _sft(recipe: SFTRecipe) -> Checked:
    from posttrain.chat import check_template
    from posttrain.data.intake import describe_encoding, describe_intake, require_context, take_in
    from posttrain.data.mix_table import mix_table
    from posttrain.examples import rows_of_mix
    from posttrain.footprint import describe_memory, fullest
    from posttrain.inference.engine import context_length
    from posttrain.models.activations import Rows
    from posttrain.models.load import load_tokenizer, read_config
    from posttrain.plugins import build
    from posttrain.sft.stage import (
        plan,
        take_in_validation,
        training_arguments,
        training_samples,
        validation_samples,
    )
    from posttrain.training import lora_config, require_steps, samples_per_step

    arguments, lora = training_arguments(recipe), lora_config(recipe.lora)  # first: encoding may take hours
    build(recipe.mixer.use, recipe.mixer.args, "mixer")
    tokenizer = load_tokenizer(recipe.model)
    intakes, held_out = take_in(recipe.data, tokenizer), take_in_validation(recipe, tokenizer)
    require_context([*intakes, *held_out], context_length(read_config(recipe.model)))
    mixed = plan(recipe, intakes)
    samples, validation = training_samples(recipe, mixed), validation_samples(recipe, held_out)
    first, end = fullest(mixed.num_tokens.tolist(), samples.bounds)
    largest = [mixed.rows[row] for row in range(first, end)]
    lengths = [len(row.input_ids) for row in largest]
    batch = 1 if samples.pack_tokens else arguments.per_device_train_batch_size
    rows = Rows(
        sum(lengths),
        rows=batch,
        documents=tuple(lengths) if len(lengths) > 1 or batch > 1 else (),
        trained=batch * sum(row.trained_tokens for row in largest),
    )
    unit = "packs" if samples.pack_tokens else "samples"
    require_steps(len(samples), samples_per_step(arguments), "packs" if samples.pack_tokens else "rows in the mix")
    longest = int(mixed.num_tokens.max())
    tokens = "; ".join(
        f"{mode}: {n:,} trained of {mixed.all_tokens[mode]:,}" for mode, n in mixed.trained_tokens.items()
    )
    notes = f"\n{'':<13}".join(describe_intake([*intakes, *held_out]))
    told: dict[str, str | Table] = {
        "template": str(check_template(tokenizer)),
        "encoding": describe_encoding([*intakes, *held_out]),
        "data": notes or "nothing set aside, inferred, converted or repeated",
        "rows": f"{len(mixed.rows):,} (longest {longest} tokens)",
        "tokens": tokens,
        "ratio": f"{mixed.ratio:.3f} reasoning : non-reasoning, in trained tokens",
        **({"packs": samples.describe()} if samples.pack_tokens else {}),
        "steps": _steps(arguments, len(samples), unit),
        "memory": describe_memory(recipe.model, rows, arguments, lora),
        **({"validation": f"{len(validation.rows):,} rows in {len(validation):,} {unit}"} if validation else {}),
        "mix": mix_table(mixed.plan),
    }
    return Checked(told, rows_of_mix(mixed, tokenizer))


def _rl(recipe: RLRecipe) -> Checked:
    from posttrain.data.rows import place_of
    from posttrain.footprint import describe_memory
    from posttrain.inference.engine import context_length
    from posttrain.models.activations import Rows
    from posttrain.models.load import read_config
    from posttrain.rl.stage import check_gold, check_lengths, describe, training_arguments
    from posttrain.training import lora_config

    prompts = _prompts(recipe, [None])
    arguments = training_arguments(recipe)
    place = partial(place_of, recipe.data.sources)
    check_lengths(prompts.lengths, arguments, context_length(read_config(recipe.model)), place)
    longest, answer = max(prompts.lengths) + arguments.max_completion_length, arguments.max_completion_length
    batch, lora = arguments.per_device_train_batch_size, lora_config(recipe.lora)
    memory = describe_memory(
        recipe.model,
        Rows(longest, rows=batch, trained=batch * answer),
        arguments,
        lora,
        reference=int(arguments.beta != 0 and lora is None),
        sequences=0 if arguments.use_vllm else arguments.generation_batch_size // arguments.world_size,
        length=longest,
    )
    if arguments.use_vllm and arguments.vllm_mode == "colocate":
        memory += f"; vLLM beside it: {arguments.vllm_gpu_memory_utilization:.0%} of a GPU"
    plan = {
        "prompts": str(prompts),
        "batch": describe(arguments, prompts.rows).strip(),
        "steps": _steps(arguments, len(prompts.rows) * arguments.num_generations),
        "rewards": ", ".join(f"{spec.use} x {spec.weight:g}" for spec in recipe.rewards),
        "memory": memory,
        "gold": check_gold(recipe, prompts.rows),
    }
    return Checked(plan, prompts.examples)


def _filter(recipe: FilterRecipe) -> Checked:
    from posttrain.data.rows import read_all
    from posttrain.filter.stage import prepare
    from posttrain.grading import GradingPool
    from posttrain.models.load import load_tokenizer

    with GradingPool(recipe.rewards, recipe.grading) as grader:
        prepare(recipe, read_all(recipe.data.sources), load_tokenizer(recipe.model), grader)
    return _sampling(recipe)


def _sampling(recipe: SamplingRecipe) -> Checked:
    prompts = _prompts(recipe, [recipe.decoding.mode])
    plan = _answers(recipe, [recipe.decoding], len(prompts.rows), max(prompts.lengths))
    return Checked(plan, prompts.examples)


def _eval(recipe: EvalRecipe) -> Checked:
    from posttrain.chat import encode_prompt
    from posttrain.evals.evaluate import ask, render_question
    from posttrain.evals.stage import prepare
    from posttrain.examples import prompts_in_turn

    plan = prepare(recipe)
    told = {
        "questions": ", ".join(f"{name} {size:,}" for name, size in plan.suite.sizes.items()),
        **_answers(recipe, plan.decodings, len(plan.suite.questions), plan.longest_prompt),
        "rewards": ", ".join(spec.use for spec in plan.suite.rewards),
        "gold": plan.gold,
    }
    asked = [
        (number, ask(question.row, decoding))
        for decoding in {decoding.mode: decoding for decoding in plan.decodings}.values()
        for number, question in enumerate(plan.suite.questions, start=1)
    ]

    def encode(row: dict[str, Any]) -> list[int]:
        return encode_prompt(plan.tokenizer, render_question(plan.tokenizer, row))

    return Checked(told, prompts_in_turn(asked, encode, plan.tokenizer))


def _answers(
    recipe: SamplingRecipe | EvalRecipe, decodings: Sequence[Decoding], num_prompts: int, longest_prompt: int
) -> dict[str, str]:
    longest = max(decoding.max_new_tokens for decoding in decodings)
    return {
        "prompts": f"{num_prompts:,} (longest {longest_prompt} tokens)",
        "responses": f"{sum(decoding.samples for decoding in decodings) * num_prompts:,} of at most {longest} tokens",
        "engine": recipe.engine.name,
    }


def _pairs(recipe: PairsRecipe) -> Checked:
    from posttrain.examples import prompts_in_turn
    from posttrain.grading.groups import GroupGradingPool
    from posttrain.models.load import load_tokenizer
    from posttrain.preference.pairs_stage import prepare

    tokenizer = load_tokenizer(recipe.model)
    with GroupGradingPool(recipe.rewards, recipe.grading) as grader:
        inputs = prepare(recipe, tokenizer, grader)
    lengths = [len(query.prompt_ids) for query in inputs.queries]
    source = f"taken from {recipe.samples}" if recipe.samples else f"sampled with {recipe.engine.name}"
    longest = recipe.decoding.max_new_tokens
    plan = {
        "prompts": f"{len(lengths):,} (longest {max(lengths)} tokens)",
        "responses": f"{recipe.decoding.samples * len(lengths):,} of at most {longest} tokens, {source}",
    }
    if inputs.old_pairs:
        plan["stage 1"] = f"{len(inputs.old_pairs):,} pairs to draw from"
    asked = [
        (number, {**query.row, "mode": query.mode, "ids": query.prompt_ids})
        for number, query in enumerate(inputs.queries, start=1)
    ]
    return Checked(plan, prompts_in_turn(asked, itemgetter("ids"), tokenizer))


def _pref(recipe: PrefRecipe) -> Checked:
    from posttrain.chat import origin_of, require_template
    from posttrain.footprint import describe_memory
    from posttrain.models.activations import Rows
    from posttrain.models.attention import SEGMENTS
    from posttrain.models.load import attention_of, load_tokenizer
    from posttrain.preference.groups import make_group
    from posttrain.preference.stage import read_data, training_arguments
    from posttrain.training import lora_config

    tokenizer = load_tokenizer(recipe.model)
    require_template(tokenizer, recipe.model.path)
    data, arguments, lora = (
        read_data(recipe, origin_of(tokenizer)),
        training_arguments(recipe),
        lora_config(recipe.lora),
    )
    unit = "groups" if recipe.objective == "group_simper" else "pairs"
    is_shared = "simper" in recipe.objective and attention_of(recipe.model) == SEGMENTS
    largest = max(
        (make_group(row) for row in data.rows), key=lambda group: group.branches.num_tokens(share_prompt=is_shared)
    )
    prompt, responses = largest.branches
    batch = arguments.per_device_train_batch_size
    branches = tuple((len(prompt), len(response)) for response in responses)
    rows = Rows(
        batch * largest.branches.num_tokens(share_prompt=is_shared),
        documents=batch * ((len(prompt),) if is_shared else tuple(sum(branch) for branch in branches)),
        branches=batch * branches if is_shared else (),
        trained=batch * sum(largest.num_trained),
    )
    memory = describe_memory(
        recipe.model, rows, arguments, lora, reference=int(recipe.objective == "dpo" and lora is None)
    )
    steps = _steps(arguments, len(data.rows), unit)
    return Checked({"objective": recipe.objective, unit: f"{len(data.rows):,}", "steps": steps, "memory": memory})


def _report(recipe: ReportRecipe) -> Checked:
    from posttrain.report.load import load_stage

    for stage in recipe.stages:
        load_stage(stage.name, Path(stage.run), Path(stage.eval) if stage.eval else None)
    return Checked({"stages": ", ".join(stage.name for stage in recipe.stages)})


_CHECKS: dict[type[AnyRecipe], Callable[[Any], Checked]] = {
    ModelRecipe: _model,
    ContextRecipe: _context,
    SFTRecipe: _sft,
    FilterRecipe: _filter,
    RLRecipe: _rl,
    PairsRecipe: _pairs,
    EvalRecipe: _eval,
    PrefRecipe: _pref,
    ReportRecipe: _report,
}


class _Prompts(NamedTuple):
    rows: list[dict[str, Any]]
    lengths: list[int]  # of each row in each of the modes that it is asked in, in tokens
    examples: "Iterator[Example]"

    def __str__(self) -> str:
        return f"{len(self.rows):,} (longest {max(self.lengths)} tokens)"


def _prompts(recipe: RLRecipe | SamplingRecipe, modes: Sequence[Mode | None]) -> _Prompts:
    """What the model is asked, each row in every one of `modes` (None: its own); the rewards are loaded on the way."""
    from posttrain.chat import encode_prompt, render_prompt
    from posttrain.data.rows import read_all, split_prompt
    from posttrain.examples import prompts_in_turn
    from posttrain.grading import Grader
    from posttrain.models.load import load_tokenizer, read_config

    Grader(recipe.rewards)
    tokenizer = load_tokenizer(recipe.model)
    rows = read_all(recipe.data.sources)
    asked = [
        (number, {**row, "messages": split_prompt(row), "mode": mode or row["mode"]})
        for mode in dict.fromkeys(modes)
        for number, row in enumerate(rows, start=1)
    ]

    def encode(row: dict[str, Any]) -> list[int]:
        return encode_prompt(tokenizer, render_prompt(tokenizer, row["messages"], row["mode"], row.get("tools")))

    lengths = [len(encode(row)) for _, row in asked]
    _require_fits(max(lengths), read_config(recipe.model), "the longest prompt")
    return _Prompts(rows, lengths, prompts_in_turn(asked, encode, tokenizer))


def _require_fits(length: int, config: Any, what: str) -> None:
    context = getattr(config, "max_position_embeddings", math.inf)
    if length > context:
        raise UserError(
            f"{what} has {length} tokens, the model's context is {context}; leave it out or extend the model"
        )


def _steps(arguments: Any, num_samples: int, unit: str = "samples") -> str:
    from posttrain.training import samples_per_step

    batch = samples_per_step(arguments)
    per_epoch = math.ceil(num_samples / batch)  # the last step of an epoch takes what is left
    steps = arguments.max_steps if arguments.max_steps > 0 else math.ceil(arguments.num_train_epochs * per_epoch)
    return f"{steps:,} optimizer steps of {batch} {unit} on {arguments.world_size} process(es)"
