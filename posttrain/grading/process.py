"""A worker process seen from the one that started it, and the tasks it is handed."""

import os
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from posttrain.child_process import ending_of, start_child
from posttrain.grading.broken import BrokenVerdict, Cause
from posttrain.grading.grader import Graded, LoadedReward, combine
from posttrain.recipe import RewardSpec
from rewards.contract import Attempt, Verdict

LOAD_TIMEOUT_S = 300.0
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(slots=True)
class Task:
    """One attempt on its way: at least one reward that applies to it, and the verdicts of the first of them."""

    index: int
    attempt: Attempt
    rewards: list[LoadedReward]
    is_retry: bool = False
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Every reward has given its verdict."""
        return len(self.verdicts) == len(self.rewards)

    def graded(self) -> Graded:
        """What the verdicts make together; the task is done."""
        return combine(self.rewards, self.verdicts)

    @property
    def is_alone_to_blame(self) -> bool:
        """Nothing else can have kept it: async rewards are at work at all attempts of a chunk at a time."""
        return self.is_retry or not any(reward.is_async for reward in self.rewards)

    def unscorable(self, cause: Cause, reason: str) -> Graded:
        """Without reward and outcome: the reward at work broke, and those after it did not run."""
        broken, *rest = self.rewards[len(self.verdicts) :]
        not_run = [Verdict(score=None, reason=f"not run: '{broken.name}' {reason}") for _ in rest]
        verdicts = [*self.verdicts, BrokenVerdict.because(cause, reason), *not_run]
        return combine(self.rewards, verdicts)._replace(reward=None, outcome=None)


class WorkerProcess:
    """A process that runs `posttrain.grading.worker`.

    Attributes:
        connection: to wait on.
        tasks: what it was handed and has not answered yet; it is at the first one.
        deadline: until when the first task has to be done, or the rewards loaded (monotonic seconds).
        is_ready: it has loaded the rewards.
    """

    def __init__(self, specs: Sequence[RewardSpec], timeout_s: float) -> None:
        self._process, ours = start_child("posttrain.grading.worker", {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")})
        patience = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))  # seconds and microseconds
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # a worker may stop within a message too
            ours.setsockopt(socket.SOL_SOCKET, option, patience)
        self.connection = Connection(ours.detach())
        self.tasks: deque[Task] = deque()
        self.is_ready = False
        self._timeout_s = timeout_s
        self._send(list(specs))
        self.deadline = time.monotonic() + LOAD_TIMEOUT_S

    @property
    def is_idle(self) -> bool:
        """Loaded and without a task."""
        return self.is_ready and not self.tasks

    def hand(self, tasks: Sequence[Task]) -> None:
        """Give it tasks; it has none."""
        self._send([task.attempt for task in tasks])
        self.tasks.extend(tasks)
        self.deadline = time.monotonic() + self._timeout_s

    def receive(self) -> Any:
        """What it has to say: a verdict, or None or text for the rewards that it has loaded or not.

        Raises:
            TimeoutError: nothing yet.
            EOFError: it is dead.
        """
        if not self.connection.poll():
            raise TimeoutError
        try:
            return self.connection.recv()
        except OSError as error:  # died or stopped within a message
            raise EOFError from error

    def finish_task(self) -> None:
        """The first task is done; the time of the next one begins."""
        self.tasks.popleft()
        self.deadline = time.monotonic() + self._timeout_s

    def kill(self) -> str:
        """End it and all that it started, whatever they are at; how it ended, in words."""
        self.connection.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return ending_of(self._process)

    def _send(self, message: object) -> None:
        with suppress(OSError):  # it is dead or stopped, as the next `receive` will tell
            self.connection.send(message)
