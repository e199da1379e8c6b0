"""When a checkpoint may be written."""

from typing import Any

from transformers import TrainerCallback


class SaveBetweenRollouts(TrainerCallback):
    """Puts a checkpoint off until its rollouts are used up.

    Rollouts are not part of a checkpoint. One written half-way through them would be resumed with fresh ones in place
    of the rest, and with the batches out of phase (measured with trl 1.16: other weights in the end).

    Args:
        arguments: an `AGAPOConfig`.
    """

    def __init__(self, arguments: Any) -> None:
        self._steps_per_rollout = arguments.steps_per_batch
        self._is_due = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Runs after the trainer's own callback has decided."""
        self._is_due |= control.should_save
        is_between = state.global_step % self._steps_per_rollout == 0 or state.global_step >= state.max_steps
        control.should_save = self._is_due and is_between
        self._is_due &= not is_between
