"""The SFT stage: recipe in, model folder out."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.markup import escape
from trl import SFTConfig

from posttrain.chat import require_template
from posttrain.data.intake import Intake, describe_encoding, describe_intake, require_context, take_in
from posttrain.data.mixing import Mixed, all_rows, mix, parts_of
from posttrain.data.rejected import write_rejected
from posttrain.data.rows import source_files
from posttrain.errors import UserError
from posttrain.inference.engine import context_length
from posttrain.models.load import load_model, load_tokenizer, model_files, read_config
from posttrain.plugins import build
from posttrain.recipe import SFTRecipe, make_config, resolved_yaml
from posttrain.runs import Resume, Run
from posttrain.sft.samples import Samples, cut_into_samples
from posttrain.sft.trainer import UnifiedSFTTrainer
from posttrain.terminal import say
from posttrain.training import (
    export_model,
    fixed_arguments,
    lora_config,
    require_steps,
    samples_per_step,
    train,
    with_defaults,
)


def run_stage(recipe: SFTRecipe, *, resume: Resume) -> None:
    """Mix, train, export."""
    arguments, lora = training_arguments(recipe), lora_config(recipe.lora)  # first: encoding may take hours
    build(recipe.mixer.use, recipe.mixer.args, "mixer")
    sources = [*recipe.data.sources, *(recipe.validation.sources if recipe.validation else ())]
    files = [*source_files(sources), *model_files(recipe.model)]
    tokenizer = load_tokenizer(recipe.model)
    template = require_template(tokenizer, recipe.model.path)
    intakes, held_out = take_in(recipe.data, tokenizer), take_in_validation(recipe, tokenizer)
    require_context([*intakes, *held_out], context_length(read_config(recipe.model)))
    mixed = plan(recipe, intakes)
    samples, validation = training_samples(recipe, mixed), validation_samples(recipe, held_out)
    require_steps(len(samples), samples_per_step(arguments), "packs" if samples.pack_tokens else "rows in the mix")
    run = Run.start(recipe.run, "sft", resolved_yaml(recipe), recipe.seed, files, template, resume)
    with run:
        if run.is_main:
            all_intakes = [*intakes, *held_out]
            write_rejected(run.folder / "rejected.jsonl", [each for intake in all_intakes for each in intake.rejected])
            for line in (describe_encoding(all_intakes), *describe_intake(all_intakes)):
                say(f"  {escape(line)}")
            say(describe(mixed))
            if samples.pack_tokens:
                say(f"  packs: {samples.describe()}")
        trainer = UnifiedSFTTrainer(
            model=load_model(recipe.model, tokenizer),
            args=arguments,
            samples=samples,
            validation=validation,
            processing_class=tokenizer,
            peft_config=lora,
        )
        train(trainer, run, resume=resume)
        export_model(trainer, tokenizer, run)
        run.finish(
            {
                "trained_tokens": mixed.trained_tokens,
                "all_tokens": mixed.all_tokens,
                "ratio": mixed.ratio,
                "data": {intake.name: intake.notes() for intake in intakes},
                "mix": {source.name: asdict(source) | {"epochs": source.epochs} for source in mixed.plan.sources},
            }
            | ({"packs": len(samples)} if samples.pack_tokens else {})
            | ({"validation": {intake.name: intake.notes() for intake in held_out}} if held_out else {})
        )


def plan(recipe: SFTRecipe, intakes: Sequence[Intake]) -> Mixed:
    """The training stream of the recipe, before any model is loaded."""
    return mix(parts_of(intakes, recipe.data.sources), recipe.mixer, seed=recipe.seed)


def training_samples(recipe: SFTRecipe, mixed: Mixed) -> Samples:
    """The stream, cut into what the trainer takes for a sample."""
    domains = (source.domain for source in mixed.plan.sources)
    return cut_into_samples(mixed.rows, mixed.num_tokens, domains, recipe.data.pack_tokens)


def take_in_validation(recipe: SFTRecipe, tokenizer: Any) -> list[Intake]:
    """The rows to evaluate on, under the rules of `data`; none without the section.

    Raises:
        UserError: as `take_in`.
    """
    if recipe.validation is None:
        return []
    try:
        return take_in(replace(recipe.data, sources=recipe.validation.sources), tokenizer)
    except UserError as error:
        raise UserError(f"validation: {error}") from error


def validation_samples(recipe: SFTRecipe, intakes: Sequence[Intake]) -> Samples | None:
    """All rows of these intakes, in the order of the files."""
    if not intakes:
        return None
    domains = {domain for intake in intakes for _, domain in intake.rows.by_mode_and_domain()}
    rows = all_rows(intakes)
    try:
        return cut_into_samples(rows, rows.num_tokens, domains, recipe.data.pack_tokens)
    except UserError as error:
        raise UserError(f"validation: {error}") from error


def training_arguments(recipe: SFTRecipe, **fixed: Any) -> SFTConfig:
    """TRL's arguments: rows are already encoded and in order, so it neither prepares nor shuffles nor cuts them.

    `fixed`: further ones that the recipe may not set.
    """
    defaults: dict[str, Any] = {} if "num_train_epochs" in fixed else {"num_train_epochs": 1}
    if recipe.data.pack_tokens is not None:
        defaults |= {"per_device_train_batch_size": 1, "per_device_eval_batch_size": 1}
    return make_config(
        SFTConfig,
        with_defaults(recipe.trainer, **defaults),
        "trainer",
        **fixed_arguments(recipe.run, recipe.model, recipe.seed),
        max_length=None,
        packing=False,
        padding_free=False,
        eval_packing=None,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,  # the collator knows what it takes
        **fixed,
    )


def describe(mixed: Mixed) -> str:
    """The mix in one line, in tokens that bear loss."""
    parts = [f"{mode} {tokens:,}" for mode, tokens in mixed.trained_tokens.items()]
    return f"  {len(mixed.rows):,} rows; trained tokens: {', '.join(parts)}; ratio {mixed.ratio:.3f}"
