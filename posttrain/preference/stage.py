"""The preference stage: SimPER on the pairs of one or more `pairs.parquet` files."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers.integrations.fsdp import is_fsdp_enabled

from posttrain.chat import require_template
from posttrain.errors import UserError
from posttrain.models.load import load_model, load_tokenizer, model_files
from posttrain.preference.config import SimPERConfig
from posttrain.preference.pair_files import origin_of, read_pairs
from posttrain.preference.pair_report import PairRow
from posttrain.preference.trainer import SimPERTrainer
from posttrain.recipe import PrefRecipe, make_config, resolved_yaml
from posttrain.runs import Run
from posttrain.training import export_model, fixed_arguments, lora_config, train, with_defaults


def run_stage(recipe: PrefRecipe, *, resume: bool) -> None:
    """Read the pairs, train, export.

    Raises:
        UserError: the model, the pairs or the settings are unusable.
    """
    pair_files = [Path(path) for path in recipe.pairs]
    tokenizer = load_tokenizer(recipe.model)
    template = require_template(tokenizer, recipe.model.path)
    origin = origin_of(tokenizer)
    rows = [row for file in pair_files for row in read_pairs(file, origin)]
    arguments, lora = training_arguments(recipe), lora_config(recipe.lora)
    if is_fsdp_enabled() and lora is None:
        raise UserError(
            "got FSDP, under which TRL would load a second, reference model that SimPER does not need; "
            "launch with DDP or DeepSpeed, or train with `lora`"
        )
    files = [*pair_files, *model_files(recipe.model)]
    run = Run.start(recipe.run, "pref", resolved_yaml(recipe), recipe.seed, files, template, resume)
    with run:
        trainer = SimPERTrainer(
            model=load_model(recipe.model, tokenizer),
            args=arguments,
            train_dataset=Dataset.from_list([_columns(row) for row in rows]),
            processing_class=tokenizer,
            peft_config=lora,
        )
        train(trainer, run, resume=resume)
        export_model(trainer, tokenizer, run)
        run.finish({"pairs": len(rows), "steps": trainer.state.global_step})


def training_arguments(recipe: PrefRecipe) -> SimPERConfig:
    """The trainer's arguments: the recipe's over our defaults."""
    fixed = fixed_arguments(recipe.run, recipe.model, recipe.seed)
    return make_config(SimPERConfig, with_defaults(recipe.trainer), "trainer", **fixed)


def _columns(row: PairRow) -> dict[str, Any]:
    return {"prompt_ids": row["prompt_ids"], "chosen_ids": row["chosen_ids"], "rejected_ids": row["rejected_ids"]}
