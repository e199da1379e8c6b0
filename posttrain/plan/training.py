"""The work of the stages that train on what is there: SFT, the context ladder, preference learning."""

from collections.abc import Iterator
from typing import Any

from posttrain.models.activations import Rows
from posttrain.models.attention import SEGMENTS
from posttrain.plan.shapes import siblings
from posttrain.plan.work import SHARE_OF_LIMIT, Reading, Update, Work, arguments_of, bytes_of, num_steps
from posttrain.recipe import ContextRecipe, PairsRecipe, PrefRecipe, SFTRecipe

ROW_TOKENS = 1024  # where neither data nor a limit says more


def sft(recipe: SFTRecipe, reading: Reading) -> Work:
    """Packs, or padded batches of rows."""
    from posttrain.sft.stage import training_arguments

    arguments = arguments_of(training_arguments, recipe)
    limit = recipe.data.max_length or recipe.data.pack_tokens
    quarter = limit // SHARE_OF_LIMIT if limit else ROW_TOKENS
    why = "a quarter of data.max_length" if limit else "a guess"
    row = reading.told("tokens_per_row", reading.counts.row, quarter, why)
    batch, pack = arguments.per_device_train_batch_size, recipe.data.pack_tokens
    longest = reading.counts.longest_row or limit or SHARE_OF_LIMIT * row
    processes = reading.options.devices or 1
    per_step = batch * arguments.gradient_accumulation_steps * processes
    steps = arguments.max_steps if arguments.max_steps > 0 else 0
    if pack is None:
        steps = steps or num_steps(arguments, reading.rows(), per_step)
        update = _update(recipe, arguments, reading, Rows(longest, rows=batch, trained=batch * longest), (row,) * batch)
        unit = "rows"
    else:
        documents, rest = divmod(pack, min(row, pack))
        sequences = (min(row, pack),) * documents + ((rest,) if rest else ())
        steps = steps or num_steps(arguments, reading.rows() * row / pack, per_step)
        update = _update(recipe, arguments, reading, _pack(pack, reading), sequences * batch)
        unit = "packs"
    return _work("SFT", recipe, reading, update, steps, f"{per_step:,} {unit}", processes)


def context(recipe: ContextRecipe, reading: Reading) -> Iterator[Work]:
    """One SFT of packs for each length, over its stream of tokens; the gate's questions are left out."""
    from posttrain.context.plan import stage_arguments

    processes, shortest = reading.options.devices or 1, recipe.documents.shortest if recipe.documents else 1.0
    for stage in recipe.stages:
        pack = recipe.pack_tokens or stage.length
        arguments = stage_arguments(recipe, stage, pack)
        batch = arguments.per_device_train_batch_size
        row = min(pack, round(stage.length * (1 + shortest) / 2))
        documents, rest = divmod(pack, row)
        sequences = (row,) * documents + ((rest,) if rest else ())
        update = _update(recipe, arguments, reading, _pack(pack, reading), sequences * batch)
        per_step = batch * arguments.gradient_accumulation_steps * processes
        steps = max(1, int(stage.limit_tokens // (pack * per_step)))
        told = f"{per_step:,} packs"
        yield _work(f"context, {stage.name}", recipe, reading, update, steps, told, processes)


def pref(recipe: PrefRecipe, reading: Reading) -> Work:
    """Every response with its prompt, but on a CPU, where our attention has the prompt once."""
    from posttrain.preference.stage import training_arguments

    arguments = arguments_of(training_arguments, recipe)
    sampled = [found for path in recipe.pairs or recipe.samples if (found := _sampled_by(path, reading)) is not None]
    counts, is_group = reading.counts, recipe.objective == "group_simper"
    limit = counts.longest_response or max((found.decoding.max_new_tokens for found in sampled), default=0)
    response = reading.response_tokens(limit or SHARE_OF_LIMIT * ROW_TOKENS)
    limit, prompt = limit or SHARE_OF_LIMIT * response, reading.prompt_tokens()
    room = max((found.engine.max_model_len or 0 for found in sampled), default=0) - limit
    longest_prompt = counts.longest_prompt or max(prompt, room)
    responses = max((found.decoding.samples for found in sampled), default=8) if is_group else 2
    batch, processes = arguments.per_device_train_batch_size, reading.options.devices or 1
    training = reading.training(recipe, arguments, processes=processes, reference=recipe.objective == "dpo")
    total = batch * responses
    if "simper" in recipe.objective and training.attention == SEGMENTS:
        rows = Rows(
            batch * (longest_prompt + responses * limit),
            documents=(longest_prompt,) * batch,
            branches=((longest_prompt, limit),) * total,
            trained=total * limit,
        )
    else:
        documents = (longest_prompt + limit,) * total
        rows = Rows(sum(documents), documents=documents, trained=total * limit)
    update = Update(
        training,
        rows,
        sequences=(prompt + response,) * total,
        scored=total * response,
        micro_batches=arguments.gradient_accumulation_steps,
        reference_passes=int(recipe.objective == "dpo"),
    )
    per_step, unit = batch * arguments.gradient_accumulation_steps * processes, "groups" if is_group else "pairs"
    steps = arguments.max_steps if arguments.max_steps > 0 else num_steps(arguments, reading.rows(), per_step)
    return _work(recipe.objective, recipe, reading, update, steps, f"{per_step:,} {unit}", processes)


def _sampled_by(path: str, reading: Reading) -> PairsRecipe | None:
    """The recipe beside this one that makes the file."""
    found = siblings(reading.file).get(path.rpartition("/")[0])
    return found if isinstance(found, PairsRecipe) else None


def _pack(tokens: int, reading: Reading) -> Rows:
    """A full pack; on a CPU its documents are what our attention copies, and one is the most of them."""
    return Rows(tokens, documents=(tokens,) if reading.device.is_cpu else (), trained=tokens)


def _update(recipe: Any, arguments: Any, reading: Reading, rows: Rows, sequences: tuple[int, ...]) -> Update:
    training = reading.training(recipe, arguments, processes=reading.options.devices or 1)
    return Update(training, rows, sequences, sum(sequences), arguments.gradient_accumulation_steps)


def _work(name: str, recipe: Any, reading: Reading, update: Update, steps: int, per_step: str, processes: int) -> Work:
    tokens = sum(update.sequences) * update.micro_batches * processes
    return Work(
        name=name,
        shape=reading.shape,
        number=bytes_of(recipe.model.dtype),
        devices=processes,
        steps=steps,
        per_step=f"{per_step}, {tokens:,} tokens",
        tokens=tokens,
        update=update,
        assumed=tuple(reading.assumed),
    )
