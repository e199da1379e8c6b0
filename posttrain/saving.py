"""How a trainer saves: every process writes its part aside, the main one seals the whole and moves it into place."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from posttrain.errors import UserError
from posttrain.run_folder.checkpoints import CheckpointFolder

T = TypeVar("T")


class WholeCheckpoints:
    """A mixin, to be named before the upstream trainer: its checkpoints are whole or absent.

    Upstream writes straight into `checkpoint-<step>`, takes any folder of that name for a checkpoint and deletes old
    ones by the time of the folder, whole or not (transformers 5.19). Resumed from the last step's, it makes one more.

    Overridden upstream hooks: `_get_output_dir` (where upstream writes and rotates; there is nothing to rotate),
    `_save_checkpoint` (what comes before and after) and `_run_epoch` (none after the last step).

    Attributes:
        checkpoint_facts: what the manifest of a checkpoint says of the run, beside the layout.
    """

    args: Any
    state: Any
    control: Any
    accelerator: Any
    checkpoint_facts: Mapping[str, Any] = {}

    def _get_output_dir(self, trial: Any) -> str:
        return str(CheckpointFolder(self.args.output_dir).aside)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder, step = CheckpointFolder(self.args.output_dir), int(self.state.global_step)
        with folder.written(step):
            on_main(self.accelerator, lambda: folder.prepare(step))
            super()._save_checkpoint(model, trial)  # type: ignore[misc]  # the trainer's
            self._mend_best(folder, step)
            self.accelerator.wait_for_everyone()
            on_main(self.accelerator, lambda: folder.place(step, {**self.checkpoint_facts, **layout_of(self)}))
        best = self.state.best_model_checkpoint
        on_main(self.accelerator, lambda: folder.rotate(self.args.save_total_limit, kept=[Path(best)] if best else []))

    def _run_epoch(self, **settings: Any) -> None:
        if self.state.global_step >= self.state.max_steps:  # killed between the last checkpoint and the export
            self.control.should_training_stop = True
            return
        super()._run_epoch(**settings)  # type: ignore[misc]  # the trainer's

    def _mend_best(self, folder: CheckpointFolder, step: int) -> None:
        """Upstream looks for the best checkpoint where this one is written, and names it after that."""
        best_step = self.state.best_global_step
        if best_step and (best_step == step or folder.of_step(best_step).is_dir()):
            self.state.best_model_checkpoint = str(folder.of_step(best_step))
            if self.args.should_save:
                self.state.save_to_json(str(folder.aside / f"checkpoint-{step}" / "trainer_state.json"))


def layout_of(trainer: Any) -> dict[str, Any]:
    """How the state is shared out, which a checkpoint must be resumed with."""
    sharding = "FSDP" if trainer.is_fsdp_enabled else "DeepSpeed" if trainer.is_deepspeed_enabled else "each process"
    return {"world_size": int(trainer.accelerator.num_processes), "sharding": sharding}


def on_main(accelerator: Any, work: Callable[[], T]) -> T:
    """Do it in the main process; every process gets the result, or the refusal. Collective.

    Raises:
        UserError: the main process did.
    """
    from accelerate.utils import broadcast_object_list

    outcome: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [work()]
        except UserError as error:
            outcome = [error]
    broadcast_object_list(outcome)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    result: T = outcome[0]
    return result
