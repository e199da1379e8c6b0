"""The preference stage: SimPER on pairs or on whole groups, or one of its peers on the same pairs."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset
from trl import DPOConfig
from trl.experimental.cpo import CPOConfig

from posttrain.chat import Origin, origin_of, require_template
from posttrain.errors import UserError
from posttrain.inference.engine import context_length
from posttrain.models.load import load_model, load_tokenizer, model_files, read_config
from posttrain.preference.config import SimPERConfig
from posttrain.preference.groups import LABELS, make_group
from posttrain.preference.pair_files import read_pairs
from posttrain.preference.peers import SIMPO_DEFAULTS, PairDPOTrainer, PairSimPOTrainer
from posttrain.preference.sample_files import read_groups
from posttrain.preference.trainer import SimPERTrainer
from posttrain.recipe import PrefRecipe, make_config, resolved_yaml
from posttrain.runs import Resume, Run
from posttrain.training import export_model, fixed_arguments, lora_config, train, with_defaults

PAIR_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids", "chosen_untrained", "rejected_untrained", *LABELS)


class Objective(NamedTuple):
    """What trains, the class of its settings, and their defaults where they differ from the library's."""

    trainer: type[Any]
    config: type[Any]
    defaults: dict[str, Any]


class PrefData(NamedTuple):
    """The rows to train on, and what is said of them in the manifest."""

    rows: list[dict[str, Any]]
    notes: dict[str, Any]


OBJECTIVES = {
    "simper": Objective(SimPERTrainer, SimPERConfig, {}),
    "group_simper": Objective(SimPERTrainer, SimPERConfig, {}),
    "dpo": Objective(PairDPOTrainer, DPOConfig, {"max_length": None}),
    "simpo": Objective(PairSimPOTrainer, CPOConfig, SIMPO_DEFAULTS),
}


def run_stage(recipe: PrefRecipe, *, resume: Resume) -> None:
    """Read the pairs or the samples, train, export.

    Raises:
        UserError: the model, the data or the settings are unusable.
    """
    arguments, lora = training_arguments(recipe), lora_config(recipe.lora)
    tokenizer = load_tokenizer(recipe.model)
    template = require_template(tokenizer, recipe.model.path)
    data = read_data(recipe, origin_of(tokenizer))
    inputs = [*data_files(recipe), *model_files(recipe.model)]
    run = Run.start(recipe.run, "pref", resolved_yaml(recipe), recipe.seed, inputs, template, resume)
    with run:
        trainer = OBJECTIVES[recipe.objective].trainer(
            model=load_model(recipe.model, tokenizer),
            args=arguments,
            train_dataset=Dataset.from_list(data.rows),
            processing_class=tokenizer,
            peft_config=lora,
        )
        train(trainer, run, resume=resume)
        export_model(trainer, tokenizer, run)
        run.finish({**data.notes, "steps": trainer.state.global_step})


def data_files(recipe: PrefRecipe) -> list[Path]:
    """The files that the recipe's objective trains on."""
    return [Path(path) for path in (recipe.samples if recipe.objective == "group_simper" else recipe.pairs)]


def training_arguments(recipe: PrefRecipe) -> Any:
    """The trainer's arguments: the recipe's over our defaults."""
    objective = OBJECTIVES[recipe.objective]
    fixed = fixed_arguments(recipe.run, recipe.model, recipe.seed)
    return make_config(objective.config, with_defaults(recipe.trainer, **objective.defaults), "trainer", **fixed)


def read_data(recipe: PrefRecipe, origin: Origin) -> PrefData:
    """Read and check what the recipe's objective trains on.

    Raises:
        UserError: as in `read_groups` and `read_pairs`, the objective cannot train a part of a side, or a prompt with
            its longest response is longer than the model's context.
    """
    data = _read_files(recipe, origin)
    context = context_length(read_config(recipe.model))
    for number, row in enumerate(data.rows, start=1):
        prompt, responses = make_group(row).branches
        if (length := len(prompt) + max(map(len, responses))) > context:
            what = "group" if recipe.objective == "group_simper" else "pair"
            raise UserError(
                f"{what} {number} of {', '.join(map(str, data_files(recipe)))} has {length} tokens, the model's "
                f"context is {context}; leave it out, sample with a smaller max_new_tokens, or extend the model"
            )
    return data


def _read_files(recipe: PrefRecipe, origin: Origin) -> PrefData:
    files = data_files(recipe)
    if recipe.objective == "group_simper":
        found = [read_groups(file, origin) for file in files]
        rows = [row for groups in found for row in groups.rows]
        skipped = sum((Counter(groups.skipped) for groups in found), Counter())
        responses = sum(len(row["weights"]) for row in rows)
        return PrefData(rows, {"groups": len(rows), "responses": responses, "skipped": dict(skipped)})
    pairs: list[dict[str, Any]] = []
    for file in files:
        rows = [dict(row) for row in read_pairs(file, origin)]
        if recipe.objective != "simper" and any(sum(make_group(row).untrained) for row in rows):
            raise UserError(
                f"pairs file '{file}' was made with train_thinking: false, and objective {recipe.objective}, which is "
                "TRL's, trains whole responses; take objective simper, or make pairs with train_thinking: true"
            )
        pairs += rows
    return PrefData([{name: row[name] for name in PAIR_COLUMNS} for row in pairs], {"pairs": len(pairs)})
