"""The gate between two steps of a trainer: nothing of the training notices that it was asked."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from accelerate.utils import gather_object
from rich.markup import escape
from transformers import TrainerCallback

from posttrain.context.gate import Gate, cells_of, failing, gate_table, named
from posttrain.context.gate_log import GateLog
from posttrain.context.plan import StagePlan
from posttrain.context.questions import REWARDS, gate_decoding
from posttrain.context.short_loss import short_loss
from posttrain.data.encode import Encoded
from posttrain.evals.answers import cut
from posttrain.evals.evaluate import evaluate
from posttrain.grading import GradingPool
from posttrain.inference.transformers_engine import TransformersEngine
from posttrain.recipe import GradingSection
from posttrain.runs import Run
from posttrain.terminal import console, say

LONGEST_TEXT = 400  # characters that samples.jsonl keeps of a question


class Watch(TrainerCallback):
    """Asks the gate's questions after every slice, and ends the stage when it may be left or has failed.

    The checkpoint of the last step is left out: a run that is stopped between it and the export goes on from an earlier
    one and comes to the same gate again.

    Args:
        trainer: whose model is asked, as it is in memory.
        plan: the stage's.
        tokenizer: of the model.
        rows: short ones, whose loss is watched.
        loss_before: on them, of the model the run started from.
        run: of the stage.
    """

    def __init__(
        self,
        trainer: Any,
        plan: StagePlan,
        tokenizer: Any,
        rows: Sequence[Encoded],
        loss_before: float | None,
        run: Run,
    ) -> None:
        self._trainer, self._plan, self._tokenizer = trainer, plan, tokenizer
        self._rows, self._loss_before, self._run = rows, loss_before, run
        self._log = GateLog(run.folder, is_main=run.is_main)
        self.last: Gate | None = None

    def begin(self) -> None:
        """Look at the short rows before the first step, under the stage's RoPE."""
        loss = self._short_loss()
        if not self._log.read():
            self._log.truncate(after_step=0)  # a kill may have left half of the line
            self._log.append(Gate(0, 0, False, (), loss, self._loss_before))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget what comes after the checkpoint."""
        self._log.truncate(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the model where a slice ends."""
        if state.global_step not in self._plan.gate_steps:
            return
        self.last = self._look(state.global_step)
        self._log.append(self.last)
        control.should_log = True
        if self.last.is_passed or self.problem() or state.global_step >= self._plan.num_steps:
            control.should_training_stop, control.should_save = True, False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The stream's only epoch ends with the stage."""
        control.should_save = False

    def problem(self) -> str | None:
        """Why the stage has failed; None where it has not, or not yet."""
        gate, stage = self.last, self._plan.stage
        assert gate is not None
        if self._is_regressed(gate.short_rise):
            return (
                f"the loss on short rows rose by {gate.short_rise:.1%}, from {gate.short_loss_before:.4f} to "
                f"{gate.short_loss:.4f} nats per token, at step {gate.step}; max_short_regression is "
                f"{self._plan.recipe.max_short_regression:.1%}: give more replay or a lower learning rate"
            )
        cells = failing(gate.cells, self._plan.recipe.gate.min_accuracy)
        if not cells or gate.step < self._plan.num_steps:
            return None
        return (
            f"after {gate.tokens:,} tokens (limit_tokens {stage.limit_tokens:,.0f}) {len(cells)} of "
            f"{len(gate.cells)} cells of the gate still fail: {named(cells)}; raise limit_tokens, or see what "
            f"the model answers in {self._run.folder / 'samples.jsonl'}"
        )

    def _look(self, step: int) -> Gate:
        records = self._ask(step)
        cells, loss = cells_of(records), self._short_loss()
        gate = Gate(step, int(self._plan.tokens[step]), False, cells, loss, self._loss_before)
        fails = failing(cells, self._plan.recipe.gate.min_accuracy)
        gate = gate._replace(is_passed=not fails and not self._is_regressed(gate.short_rise))
        if self._run.is_main:
            self._run.append_samples(cut(record, LONGEST_TEXT) for record in records)
            self._tell(gate)
        return gate

    def _ask(self, step: int) -> list[dict[str, Any]]:
        """The graded answers to all questions; the processes share them out."""
        accelerator, recipe = self._trainer.accelerator, self._plan.recipe
        model = accelerator.unwrap_model(self._trainer.model)
        pack_tokens = recipe.pack_tokens or self._plan.stage.length
        mine = self._plan.questions[accelerator.process_index :: accelerator.num_processes]
        was_training, records = model.training, list[dict[str, Any]]()
        try:
            with GradingPool(REWARDS, GradingSection(workers=0)) as grader:
                for length, some in groupby(mine, key=lambda question: question.cell["length"]):
                    self._run.beat(step)
                    engine = TransformersEngine(model, self._tokenizer, max_num_seqs=max(1, pack_tokens // length))
                    records += evaluate(
                        engine,
                        self._tokenizer,
                        list(some),
                        gate_decoding(recipe.gate),
                        grader,
                        seed=recipe.seed,
                        step=step,
                    )
        finally:
            model.train(was_training)
        gathered: list[dict[str, Any]] = gather_object(records)
        return gathered

    def _short_loss(self) -> float | None:
        if not self._rows:
            return None
        accelerator = self._trainer.accelerator
        model = accelerator.unwrap_model(self._trainer.model)
        return short_loss(model, self._rows, rank=accelerator.process_index, world_size=accelerator.num_processes)

    def _is_regressed(self, rise: float | None) -> bool:
        return rise is not None and not rise <= self._plan.recipe.max_short_regression

    def _tell(self, gate: Gate) -> None:
        minimum = self._plan.recipe.gate.min_accuracy
        fails = failing(gate.cells, minimum)
        verdict = f"{len(fails)} of {len(gate.cells)} cells fail" if fails else f"all {len(gate.cells)} cells pass"
        rise = gate.short_rise
        short = "" if rise is None else f"; short loss {gate.short_loss:.4f} ({rise:+.1%})"
        name = escape(self._plan.stage.name)
        say(f"  {name}  gate at step {gate.step}, {gate.tokens:,} tokens: {verdict}{short}")
        console.print(gate_table(gate.cells, minimum), soft_wrap=False)
        if fails:
            say(f"  failing: {escape(named(fails))}")
