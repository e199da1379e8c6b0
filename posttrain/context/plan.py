"""What a length stage trains and asks: known, and refused where it will not do, before a model is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from trl import SFTConfig

from posttrain.context.documents import documents_file
from posttrain.context.mixing import mix_by_share
from posttrain.context.questions import gate_questions, longest_sequence
from posttrain.data.encode import Encoded
from posttrain.data.intake import Intake, take_in
from posttrain.data.mixing import parts_of
from posttrain.errors import UserError
from posttrain.evals.suite import Question
from posttrain.models.load import read_config
from posttrain.models.rope import extended
from posttrain.recipe import ContextRecipe, LengthStage, MixerSection, RowsSection, SFTDataSection, SFTRecipe, Source
from posttrain.sft.samples import Samples, cut_into_samples
from posttrain.sft.stage import training_arguments
from posttrain.training import require_steps, samples_per_step

DEFAULTS = {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 10}


class Taken(NamedTuple):
    """What the stream takes of a group of rows: how many, and which share of all tokens."""

    rows: int
    share: float


@dataclass(frozen=True)
class StagePlan:
    """One length stage.

    Attributes:
        stage: of the recipe.
        recipe: the same stage by itself: what its run folder keeps.
        config: the model's, with the stage's length and RoPE.
        arguments: the trainer's.
        samples: packs, as many as fill whole steps.
        tokens: trained after each step, by step from 1; step 0 has none.
        gate_steps: after which of them the gate is asked.
        questions: what it asks.
        intakes: of each group of rows: documents, long, replay.
        got: what the stream takes of each group.
    """

    stage: LengthStage
    recipe: ContextRecipe
    config: Any
    arguments: SFTConfig
    samples: Samples
    tokens: npt.NDArray[np.int64]
    gate_steps: Sequence[int]
    questions: Sequence[Question]
    intakes: dict[str, list[Intake]]
    got: dict[str, Taken]

    @property
    def num_steps(self) -> int:
        """Optimizer steps until the limit."""
        return len(self.tokens) - 1


def plan_stages(recipe: ContextRecipe, tokenizer: Any) -> list[StagePlan]:
    """The plan of every stage; documents that are not in the cache yet are made.

    Raises:
        UserError: naming the stage, and what of it will not do.
    """
    plans: list[StagePlan] = []
    config, path = read_config(recipe.model), recipe.model.path
    for index, stage in enumerate(recipe.stages):
        folder = Path(recipe.run) / stage.name
        alone = replace(recipe, run=str(folder), model=replace(recipe.model, path=path), stages=[stage])
        try:
            config = extended(config, length=stage.length, rope_theta=stage.rope_theta, rope_scaling=stage.rope_scaling)
            plans.append(_plan(alone, stage, config, tokenizer))
        except UserError as error:
            raise UserError(f"stages.{index} ({stage.name}): {error}") from error
        path = str(folder / "model")
    return plans


def short_rows(recipe: ContextRecipe, tokenizer: Any) -> Sequence[Encoded]:
    """The rows whose loss is watched: those of `validation` that fit the model and the first stage.

    Raises:
        UserError: as `take_in`.
    """
    if recipe.validation is None:
        return []
    longest = min(recipe.stages[0].length, read_config(recipe.model).max_position_embeddings)
    intakes = _take_in("validation", recipe.validation.sources, tokenizer, longest)
    return [row for intake in intakes for row in intake.rows]


def gate_steps(tokens: npt.NDArray[np.int64], slice_tokens: float) -> list[int]:
    """The steps that complete a slice, and the last one.

    Args:
        tokens: trained after each step, from step 0 on.
        slice_tokens: of one slice.
    """
    slices = tokens // slice_tokens
    return sorted({*(np.flatnonzero(slices[1:] > slices[:-1]) + 1).tolist(), len(tokens) - 1})


def _plan(recipe: ContextRecipe, stage: LengthStage, config: Any, tokenizer: Any) -> StagePlan:
    pack_tokens = recipe.pack_tokens or stage.length
    questions = gate_questions(tokenizer, recipe.gate, length=stage.length, seed=recipe.seed)
    longest = longest_sequence(tokenizer, recipe.gate, questions)
    if longest > stage.length:
        raise UserError(f"gate: a question takes {longest} tokens with its answer, length is {stage.length}")
    sources = _sources(recipe, stage, tokenizer)
    shares = _shares(recipe)
    intakes = {
        group: _take_in(group, section.sources, tokenizer, stage.length, section.rejected_max_share)
        for group, section in sources.items()
    }
    parts = {group: list(parts_of(some, sources[group].sources).values()) for group, some in intakes.items()}
    rows = mix_by_share(parts, shares, limit_tokens=stage.limit_tokens, seed=recipe.seed)
    domains = {part.domain for group in parts.values() for part in group}
    packs = cut_into_samples(rows, rows.num_tokens, domains, pack_tokens)
    arguments = stage_arguments(recipe, stage, pack_tokens)
    per_step = samples_per_step(arguments)
    require_steps(len(packs), per_step, "packs within limit_tokens")
    num_steps = len(packs) // per_step
    bounds = packs.bounds[: num_steps * per_step + 1]
    rows = rows[: bounds[-1]]
    samples = replace(packs, rows=rows, bounds=bounds, num_tokens=int(rows.num_tokens.sum(dtype=np.int64)))
    tokens = np.cumsum([0, *rows.num_tokens], dtype=np.int64)[np.asarray(bounds)][::per_step]
    groups = np.repeat(np.arange(len(parts)), [len(members) for members in parts.values()])
    group_of = groups[rows.source_ids]
    num_rows = np.bincount(group_of, minlength=len(parts))
    shares_got = np.bincount(group_of, weights=rows.num_tokens, minlength=len(parts)) / samples.num_tokens
    return StagePlan(
        stage=stage,
        recipe=recipe,
        config=config,
        arguments=arguments,
        samples=samples,
        tokens=tokens,
        gate_steps=gate_steps(tokens, stage.slice_tokens),
        questions=questions,
        intakes=intakes,
        got={
            group: Taken(int(count), float(share))
            for group, count, share in zip(parts, num_rows, shares_got, strict=True)
        },
    )


def _shares(recipe: ContextRecipe) -> dict[str, float]:
    sections = {"long": recipe.long, "replay": recipe.replay}
    shares = {group: section.share for group, section in sections.items() if section is not None}
    return shares if recipe.documents is None else {"documents": 1 - sum(shares.values()), **shares}


def _sources(recipe: ContextRecipe, stage: LengthStage, tokenizer: Any) -> dict[str, RowsSection]:
    """The sections of rows; the documents, made here, are one of them."""
    sections = {"long": recipe.long, "replay": recipe.replay}
    given = {group: section for group, section in sections.items() if section is not None}
    if recipe.documents is None:
        return given
    share = _shares(recipe)["documents"]
    path = documents_file(
        tokenizer,
        recipe.documents,
        length=stage.length,
        num_tokens=share * stage.limit_tokens,
        seed=recipe.seed,
    )
    return {"documents": RowsSection(sources=[Source(path=str(path), name="documents")], share=share), **given}


def _take_in(
    group: str, sources: list[Source], tokenizer: Any, max_length: int, rejected_max_share: float = 0.01
) -> list[Intake]:
    data = SFTDataSection(
        sources=sources, max_length=max_length, too_long="drop", rejected_max_share=rejected_max_share
    )
    try:
        return take_in(data, tokenizer)
    except UserError as error:
        raise UserError(str(error).replace("data.", f"{group}.")) from error


def stage_arguments(recipe: ContextRecipe, stage: LengthStage, pack_tokens: int) -> SFTConfig:
    """The trainer's arguments: those of an SFT run on packs, once over the stream."""
    sft = SFTRecipe(
        run=recipe.run,
        seed=recipe.seed,
        model=recipe.model,
        data=SFTDataSection(sources=[], pack_tokens=pack_tokens),
        mixer=MixerSection(use=""),
        trainer={**DEFAULTS, **recipe.trainer, **stage.trainer},
    )
    return training_arguments(sft, max_steps=-1, num_train_epochs=1, eval_strategy="no")
