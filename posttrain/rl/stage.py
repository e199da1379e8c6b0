"""The RL stage: recipe in, model folder out."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from datasets import Dataset
from rich.markup import escape

from posttrain.chat import encode_prompt, render_prompt, require_template
from posttrain.data.rows import Row, place_of, read_all, source_files, split_prompt
from posttrain.errors import UserError
from posttrain.grading import GradingPool, sample_record
from posttrain.grading.gold import PlaceOf, require_gold
from posttrain.inference.engine import context_length, end_token_ids
from posttrain.models.load import load_model, load_tokenizer, model_files, read_config
from posttrain.recipe import RLRecipe, make_config, resolved_yaml
from posttrain.rl.bridge import OUTCOME, RewardBridge
from posttrain.rl.config import PRESETS, AGAPOConfig
from posttrain.rl.sampled import Rollouts
from posttrain.rl.trainer import AGAPOTrainer
from posttrain.runs import Resume, Run
from posttrain.terminal import say
from posttrain.training import export_model, fixed_arguments, lora_config, require_steps, train, with_defaults

SAMPLES_EVERY_STEPS = 5
MAX_UNJUDGED_SHARE = 0.05  # of the rows; their responses would be sampled for nothing
SAMPLES_KEPT = 32  # responses kept in samples.jsonl each time, whole groups where the group size divides it


def run_stage(recipe: RLRecipe, *, resume: Resume) -> None:
    """Sample, grade, update, export."""
    files = [*source_files(recipe.data.sources), *model_files(recipe.model)]
    tokenizer = load_tokenizer(recipe.model)
    template = require_template(tokenizer, recipe.model.path)
    grader = GradingPool(recipe.rewards, recipe.grading)
    rows = read_all(recipe.data.sources)
    arguments, lora = training_arguments(recipe), lora_config(recipe.lora)
    require_steps(len(rows), arguments.generation_batch_size // arguments.num_generations, "prompts")
    columns = [prompt_columns(tokenizer, row) for row in rows]
    lengths = [len(encode_prompt(tokenizer, row["prompt"])) for row in columns]
    check_lengths(lengths, arguments, context_length(read_config(recipe.model)), partial(place_of, recipe.data.sources))
    if os.environ.get("RANK", "0") == "0":  # where it refuses the rows, the launcher ends the others
        say(f"  gold answers: {escape(check_gold(recipe, rows))}")
    run = Run.start(recipe.run, "rl", resolved_yaml(recipe), recipe.seed, files, template, resume)
    with run, grader:
        grader.introduce(run)
        if run.is_main:
            say(describe(arguments, rows))
        model = load_model(recipe.model, tokenizer)
        bridge = RewardBridge(grader, tokenizer, end_token_ids(model.generation_config, tokenizer))
        trainer = AGAPOTrainer(
            model=model,
            reward_funcs=bridge.functions(),
            args=arguments,
            train_dataset=Dataset.from_list(columns),
            processing_class=tokenizer,
            peft_config=lora,
            on_rollouts=lambda rollouts: _keep_samples(run, bridge, rollouts),
        )
        train(trainer, run, resume=resume)
        export_model(trainer, tokenizer, run)
        run.finish()


def training_arguments(recipe: RLRecipe) -> AGAPOConfig:
    """TRL's arguments; the outcome is a reward function of weight 0, so that it is gathered with the others."""
    return make_config(
        AGAPOConfig,
        with_defaults(recipe.trainer, logging_steps=1, **PRESETS[recipe.preset]),
        "trainer",
        **fixed_arguments(recipe.run, recipe.model, recipe.seed),
        use_vllm=recipe.engine == "vllm",
        reward_weights=[*(spec.weight for spec in recipe.rewards), 0.0],
        outcome_reward=OUTCOME,
        refill_max_extra_batches=recipe.refill.max_extra_batches,
        refill_below=recipe.refill.below,
    )


def check_gold(recipe: RLRecipe, rows: Sequence[Row]) -> str:
    """Refuse rows whose own gold answer is wrong, or too many that have none, unless the recipe takes them.

    Returns:
        What was found, in a line.

    Raises:
        UserError: as in `require_gold`.
    """
    if not recipe.check_gold:
        return "not checked"
    prompts = [{**row, "messages": split_prompt(row)} for row in rows]
    place = partial(place_of, recipe.data.sources)
    return str(require_gold(prompts, recipe.rewards, recipe.grading, place, max_unjudged_share=MAX_UNJUDGED_SHARE))


def check_lengths(
    prompt_lengths: Sequence[int], arguments: AGAPOConfig, context: int, place_of: PlaceOf = "row {}".format
) -> None:
    """Refuse prompts that leave no room for a whole completion.

    Args:
        prompt_lengths: tokens of each prompt.
        arguments: the trainer's.
        context: the model's longest sequence, in tokens.
        place_of: names the row of a number, counted from 0.

    Raises:
        UserError: how many there are, the first of them, and the limit.
    """
    limit = min(context, arguments.vllm_max_model_length or context) - arguments.max_completion_length
    too_long = [row for row, length in enumerate(prompt_lengths) if length > limit]
    if too_long:
        place = place_of(too_long[0])
        raise UserError(
            f"{len(too_long):,} of {len(prompt_lengths):,} prompts are too long, the first is {place} with "
            f"{prompt_lengths[too_long[0]]} tokens; the context leaves {limit} beside trainer.max_completion_length "
            f"({arguments.max_completion_length}): lower it, raise trainer.vllm_max_model_length, or leave the rows out"
        )


def describe(arguments: AGAPOConfig, rows: Sequence[Row]) -> str:
    """The prompts by mode, as one that says none is asked without thinking, and the batch arithmetic; in one line."""
    modes = " and ".join(f"{count:,} {mode}" for mode, count in Counter(row["mode"] for row in rows).most_common())
    groups = arguments.generation_batch_size // arguments.num_generations
    return (
        f"  {modes.replace('_', '-')} prompts; a batch is {groups} groups of {arguments.num_generations}, "
        f"{arguments.generation_batch_size} responses of at most {arguments.max_completion_length} tokens"
    )


def prompt_columns(tokenizer: Any, row: Row) -> dict[str, str]:
    """A row as the trainer wants it: the rendered prompt, and everything else as JSON."""
    prompt = render_prompt(tokenizer, split_prompt(row), row["mode"], row.get("tools"))
    return {"prompt": prompt, "row": json.dumps({**row, "messages": split_prompt(row)}, ensure_ascii=False)}


def _keep_samples(run: Run, bridge: RewardBridge, rollouts: Rollouts) -> None:
    samples = bridge.take()
    if not run.is_main or rollouts.step % SAMPLES_EVERY_STEPS:
        return
    run.append_samples(
        sample_record(
            attempt,
            graded,
            stage="rl",
            step=rollouts.step,
            weights_version=rollouts.weights_version,
            group_type=rollouts.group_types[index],
            advantage=rollouts.advantages[index],
        )
        for index, (attempt, graded) in enumerate(samples[:SAMPLES_KEPT])
    )
