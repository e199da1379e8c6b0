"""SIGTERM while a stage trains: a checkpoint at the next place where one may be, and an orderly end."""

import os
import signal
import threading
from types import TracebackType
from typing import Any, Self

import torch
from transformers import TrainerCallback

from posttrain.errors import Preempted


class SaveAndStop(TrainerCallback):
    """As a context manager it takes SIGTERM; as a callback it saves after the step that is under way, and stops there.

    Where a trainer puts a checkpoint off (rollouts still in use), training goes on until it is written. All processes
    stop at the same step, whichever of them got the signal. Outside of the context SIGTERM does what it did before.

    Args:
        accelerator: the trainer's.

    Attributes:
        has_stopped: the checkpoint is written and training was ended.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self._is_asked = False  # in this process
        self._is_due = False  # in all
        self._pid = os.getpid()
        self._old: Any = None
        self.has_stopped = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may
            self._old = signal.signal(signal.SIGTERM, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._old is not None:
            signal.signal(signal.SIGTERM, self._old)

    def _take(self, *_: object) -> None:
        if os.getpid() != self._pid:  # a worker that reads data, forked from here
            raise Preempted
        self._is_asked = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint; to be called before those that may put it off."""
        if self._accelerator.num_processes > 1:
            asked = torch.tensor([self._is_asked], device=self._accelerator.device)
            self._is_due = bool(self._accelerator.gather(asked).any())
        else:
            self._is_due = self._is_asked
        control.should_save |= self._is_due

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """It is written."""
        if self._is_due and state.global_step < state.max_steps:
            control.should_training_stop = True
            self.has_stopped = True
