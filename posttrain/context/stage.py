"""The context stage: a model in, a model for every length of the ladder out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from rich.markup import escape

from posttrain.chat import require_template
from posttrain.context.plan import StagePlan, plan_stages, short_rows
from posttrain.context.short_loss import short_loss
from posttrain.context.watch import Watch
from posttrain.data.encode import Encoded
from posttrain.data.intake import describe_intake
from posttrain.data.rejected import write_rejected
from posttrain.data.rows import source_files
from posttrain.errors import UserError
from posttrain.haystack import text_files
from posttrain.models.load import load_model, load_tokenizer, model_files
from posttrain.recipe import ContextRecipe, resolved_yaml
from posttrain.runs import Resume, Run, is_finished
from posttrain.sft import UnifiedSFTTrainer
from posttrain.terminal import say
from posttrain.training import export_model, train


def run_stage(recipe: ContextRecipe, *, resume: Resume) -> None:
    """Train length after length, each until its gate passes; finished ones are skipped when resuming.

    Raises:
        UserError: what `posttrain check` would refuse, or a stage failed: its limit was reached with failing cells, or
            the loss on short rows rose too far. The model of that moment is in the stage's run folder.
    """
    tokenizer = load_tokenizer(recipe.model)
    template = require_template(tokenizer, recipe.model.path)
    plans, rows = plan_stages(recipe, tokenizer), short_rows(recipe, tokenizer)
    run = Run.start(recipe.run, "context", resolved_yaml(recipe), recipe.seed, _files(recipe), template, resume)
    with run:
        loss_before = _loss_of(recipe, tokenizer, rows) if rows else None
        for plan in plans:
            if is_finished(plan.recipe.run, resolved_yaml(plan.recipe)):
                say(f"{escape(plan.recipe.run)} is finished: skipped")
            else:
                _run_length(plan, tokenizer, template, rows, loss_before, resume=resume)
        run.finish({"stages": [plan.stage.name for plan in plans], "short_loss_before": loss_before})


def describe(plan: StagePlan) -> str:
    """The stage in one line."""
    groups = ", ".join(f"{taken.rows:,} rows of {group} ({taken.share:.1%})" for group, taken in plan.got.items())
    return (
        f"{plan.stage.length:,} tokens long; at most {plan.num_steps:,} steps, {plan.tokens[-1]:,} tokens: {groups}; "
        f"at most {len(plan.gate_steps):,} gates of {len(plan.questions):,} questions"
    )


def _run_length(
    plan: StagePlan,
    tokenizer: Any,
    template: str,
    rows: Sequence[Encoded],
    loss_before: float | None,
    *,
    resume: Resume,
) -> None:
    recipe = plan.recipe
    run = Run.start(recipe.run, "context", resolved_yaml(recipe), recipe.seed, _files(recipe), template, resume)
    with run:
        if run.is_main:
            intakes = [intake for some in plan.intakes.values() for intake in some]
            write_rejected(run.folder / "rejected.jsonl", [each for intake in intakes for each in intake.rejected])
            say(f"[bold]{escape(plan.stage.name)}[/bold]  {describe(plan)}")
            for line in describe_intake(intakes):
                say(f"  {escape(line)}")
        trainer = UnifiedSFTTrainer(
            model=load_model(recipe.model, tokenizer, plan.config),
            args=plan.arguments,
            samples=plan.samples,
            processing_class=tokenizer,
        )
        _require_whole(trainer)
        watch = Watch(trainer, plan, tokenizer, rows, loss_before, run)
        watch.begin()
        trainer.add_callback(watch)
        train(trainer, run, resume=resume, is_growing=True)
        model = export_model(trainer, tokenizer, run)
        if problem := watch.problem():
            raise UserError(f"stage {plan.stage.name} failed: {problem}; the model of that moment is in {model}")
        assert watch.last is not None
        run.finish(
            {
                "length": plan.stage.length,
                "tokens": watch.last.tokens,
                "steps": watch.last.step,
                "shares": {group: taken.share for group, taken in plan.got.items()},
                "short_loss": watch.last.short_loss,
                "data": {intake.name: intake.notes() for some in plan.intakes.values() for intake in some},
            }
        )


def _files(recipe: ContextRecipe) -> list[Path]:
    """What decides the run: rows, texts that needles are hidden in, the model."""
    sections = (recipe.long, recipe.replay, recipe.validation)
    sources = [source for section in sections if section is not None for source in section.sources]
    texts = [section.text for section in (recipe.gate, recipe.documents) if section is not None and section.text]
    return [*source_files(sources), *(file for text in texts for file in text_files(text)), *model_files(recipe.model)]


def _loss_of(recipe: ContextRecipe, tokenizer: Any, rows: Sequence[Encoded]) -> float:
    """The loss on short rows of the model as it is given, before its RoPE is touched."""
    state = PartialState()
    model = load_model(recipe.model, tokenizer).to(state.device)
    return short_loss(model, rows, rank=state.process_index, world_size=state.num_processes)


def _require_whole(trainer: Any) -> None:
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    if trainer.is_fsdp_enabled or is_deepspeed_zero3_enabled():
        raise UserError(
            "the gate asks the model as it is in memory, which needs all weights in every process: "
            "use DDP, ZeRO-1 or ZeRO-2 for a context stage, not ZeRO-3 or FSDP"
        )
