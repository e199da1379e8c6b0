"""The SFT stage: recipe in, model folder out."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from rich.markup import escape
from trl import SFTConfig

from posttrain.chat import require_template
from posttrain.data.encode import Encoded
from posttrain.data.intake import Intake, describe_encoding, describe_intake, take_in
from posttrain.data.mixing import Mixed, mix, parts_of
from posttrain.data.rejected import write_rejected
from posttrain.data.rows import source_files
from posttrain.models.load import load_model, load_tokenizer, model_files
from posttrain.recipe import SFTRecipe, make_config, resolved_yaml
from posttrain.runs import Run
from posttrain.sft.trainer import MODE_COLUMN, UnifiedCollator, UnifiedSFTTrainer
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


def run_stage(recipe: SFTRecipe, *, resume: bool) -> None:
    """Mix, train, export."""
    files = [*source_files(recipe.data.sources), *model_files(recipe.model)]
    tokenizer = load_tokenizer(recipe.model)
    template = require_template(tokenizer, recipe.model.path)
    intakes = take_in(recipe.data, tokenizer)
    mixed, arguments, lora = plan(recipe, intakes), training_arguments(recipe), lora_config(recipe.lora)
    require_steps(len(mixed.rows), samples_per_step(arguments), "rows in the mix")
    run = Run.start(recipe.run, "sft", resolved_yaml(recipe), recipe.seed, files, template, resume)
    with run:
        if run.is_main:
            write_rejected(run.folder / "rejected.jsonl", [each for intake in intakes for each in intake.rejected])
            for line in (describe_encoding(intakes), *describe_intake(intakes)):
                say(f"  {escape(line)}")
            say(describe(mixed))
        trainer = UnifiedSFTTrainer(
            model=load_model(recipe.model, tokenizer),
            args=arguments,
            train_dataset=lazy_dataset(mixed.rows),
            processing_class=tokenizer,
            data_collator=UnifiedCollator(pad_token_id=tokenizer.pad_token_id),
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
        )


def plan(recipe: SFTRecipe, intakes: Sequence[Intake]) -> Mixed:
    """The training stream of the recipe, before any model is loaded."""
    return mix(parts_of(intakes, recipe.data.sources), recipe.mixer, seed=recipe.seed)


def training_arguments(recipe: SFTRecipe) -> SFTConfig:
    """TRL's arguments: rows are already encoded and in order, so it neither prepares nor shuffles nor cuts them."""
    return make_config(
        SFTConfig,
        with_defaults(recipe.trainer, num_train_epochs=1),
        "trainer",
        **fixed_arguments(recipe.run, recipe.model, recipe.seed),
        max_length=None,
        remove_unused_columns=False,  # it would drop `place`; what else is in a row, the collator leaves out
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def describe(mixed: Mixed) -> str:
    """The mix in one line, in tokens that bear loss."""
    parts = [f"{mode} {tokens:,}" for mode, tokens in mixed.trained_tokens.items()]
    return f"  {len(mixed.rows):,} rows; trained tokens: {', '.join(parts)}; ratio {mixed.ratio:.3f}"


def lazy_dataset(rows: Sequence[Encoded]) -> Dataset:
    """The rows as TRL wants them, each read when its turn comes: the data set itself holds only their places."""
    places = Dataset.from_dict({"place": np.arange(len(rows))})
    return places.with_transform(partial(_columns, rows))


def _columns(rows: Sequence[Encoded], batch: dict[str, list[int]]) -> dict[str, list[Any]]:
    read = [rows[place] for place in batch["place"]]
    return {
        "input_ids": [row.input_ids for row in read],
        "labels": [row.labels for row in read],
        MODE_COLUMN: [row.mode_id for row in read],
    }
