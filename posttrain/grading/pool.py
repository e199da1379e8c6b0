"""Grade many attempts in worker processes, so that a reward that hangs or dies costs its own attempt and no more.

Why not the standard pools: `concurrent.futures` is broken as a whole when a worker dies, and cannot stop a call that
runs; workers of `multiprocessing` (and of Pebble, which is built on it) import the main script and with it torch, and
when they hang they outlive a parent that is killed. So the workers are plain subprocesses with a socket each.
"""

import os
import time
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from multiprocessing.connection import wait
from types import TracebackType
from typing import TYPE_CHECKING, Self

from posttrain.errors import UserError
from posttrain.grading.broken import BrokenBudget, BrokenVerdict, Cause
from posttrain.grading.grader import Graded, Grader
from posttrain.grading.process import LOAD_TIMEOUT_S, Task, WorkerProcess
from posttrain.recipe import GradingSection, RewardSpec
from rewards.contract import Attempt

if TYPE_CHECKING:
    from posttrain.runs import Run

_LARGEST_CHUNK = 16  # attempts that are sent to a worker together
_CHUNKS_PER_WORKER = 4  # at least, so that the workers end at about the same time


class GradingPool:
    """Grades batches of attempts with the recipe's rewards. Use it as a context manager; an error leaves it usable.

    Workers start when there is something to grade, load the rewards once, and end with the pool or with this process.
    With `workers: 0` the rewards run in this process: nothing can then be done about one that hangs or ends it.

    A reward that raises, or returns what is no verdict, gives a `BrokenVerdict` beside the verdicts of the others (see
    `Graded`). One that is at work when an attempt's time is up, or whose process ends twice, leaves the attempt without
    reward and outcome: the rewards after it never ran, and what becomes of an attempt must not depend on their order.
    Results depend neither on the number of workers nor on what happens to other attempts.

    Attempts that go to a worker together (16 at most, in a row, as the responses to one prompt are) and look the same
    to a reward (its `SEES`) are graded by it once; its async rewards are at work at all of them at a time. The time of
    an attempt then begins when the one before it is done: it may have had more than `timeout_s`, never less.

    Args:
        specs: the recipe's rewards.
        section: the recipe's `grading`.

    Raises:
        UserError: a reward cannot be loaded, or two have the same name.
    """

    def __init__(self, specs: Sequence[RewardSpec], section: GradingSection) -> None:
        self._specs = list(specs)
        self._grader = Grader(specs)
        self._timeout_s = section.timeout_s
        self._num_workers = default_workers() if section.workers is None else section.workers
        self._budget = BrokenBudget(section.max_broken_share)
        self._workers: list[WorkerProcess] = []
        self._loads_left = 1  # failures in a row; more once the rewards have been loaded in a worker
        self._kill_workers = weakref.finalize(self, _kill_all, self._workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, whatever they are at; the pool grades no more."""
        self._kill_workers()

    @property
    def names(self) -> list[str]:
        """The rewards' names, in the recipe's order."""
        return self._grader.names

    @property
    def descriptions(self) -> dict[str, dict[str, str]]:
        """By reward, what those that have something to say say of the machine they work with."""
        return self._grader.descriptions

    @property
    def broken(self) -> dict[str, Counter[Cause]]:
        """How often each reward broke, by cause, in all batches; those that never did are not in it."""
        return self._budget.counts

    def introduce(self, run: "Run") -> None:
        """Say what rewards say of the machine they work with, and note it in the run's manifest."""
        # Imported here: a worker has no use for a terminal.
        from rich.markup import escape

        from posttrain.terminal import say

        descriptions = self.descriptions
        if descriptions and run.is_main:
            for name, words in descriptions.items():
                say(escape(f"  {name}: {', '.join(f'{key} {value}' for key, value in words.items())}"))
            run.note({"rewards": descriptions})

    def grade_all(self, attempts: Sequence[Attempt]) -> list[Graded]:
        """Grade a batch, in order. Warns when a reward breaks for the first time.

        Raises:
            UserError: rewards break on more than `max_broken_share` of the attempts (see `BrokenBudget`), or cannot be
                loaded in a worker.
            ValueError: the pool is closed.
        """
        if not self._kill_workers.alive:
            raise ValueError("the grading pool is closed; need an open one")
        self._budget.begin(len(attempts))
        results: dict[int, Graded] = {}
        with closing(self._in_workers(attempts) if self._num_workers else self._here(attempts)) as graded_attempts:
            for index, graded in graded_attempts:
                results[index] = graded
                self._warn(graded.broken)
                self._budget.count(index, graded.broken)
        return [results[index] for index in range(len(attempts))]

    def grade_groups(self, groups: Sequence[Sequence[Attempt]]) -> list[list[Graded]]:
        """Grade groups of attempts, each at one prompt, as one batch; as in `grade_all`."""
        graded = iter(self.grade_all([attempt for group in groups for attempt in group]))
        return [list(islice(graded, len(group))) for group in groups]

    def _warn(self, broken: Mapping[str, BrokenVerdict]) -> None:
        for name, verdict in broken.items():
            if name not in self.broken:
                warnings.warn(
                    f"reward '{name}' {verdict.reason}; such attempts are counted and left out, never scored 0, and "
                    "stop the run when they are more than grading.max_broken_share (said once)",
                    stacklevel=3,
                )

    def _here(self, attempts: Sequence[Attempt]) -> Generator[tuple[int, Graded]]:
        for index, attempt in enumerate(attempts):
            yield index, self._grader.grade(attempt)

    def _in_workers(self, attempts: Sequence[Attempt]) -> Generator[tuple[int, Graded]]:
        """The results with their indices, as they come."""
        tasks = [Task(index, attempt, self._grader.rewards_for(attempt)) for index, attempt in enumerate(attempts)]
        yield from ((task.index, task.graded()) for task in tasks if task.is_done)  # no reward applies
        chunks = _chunks([task for task in tasks if not task.is_done], self._num_workers)
        try:
            while self._hand_out(chunks):
                for worker in self._wait():
                    yield from self._read(worker, chunks)
        finally:
            for worker in [worker for worker in self._workers if worker.tasks]:
                self._dismiss(worker)

    def _hand_out(self, chunks: deque[list[Task]]) -> bool:
        """Give chunks to the workers that have none, and start those that are missing; False when all is done."""
        for worker in [worker for worker in self._workers if worker.is_idle and worker.connection.poll()]:
            self._dismiss(worker)  # an idle one has nothing to say but that it has ended
        num_at_work = sum(bool(worker.tasks) for worker in self._workers)
        while len(self._workers) < min(self._num_workers, num_at_work + len(chunks)):
            self._workers.append(WorkerProcess(self._specs, self._timeout_s))
        for worker in self._workers:
            if chunks and worker.is_idle:
                worker.hand(chunks.popleft())
        return bool(chunks) or any(worker.tasks for worker in self._workers)

    def _wait(self) -> list[WorkerProcess]:
        """The workers that have something to say or whose time is up; as soon as there is one."""
        busy = [worker for worker in self._workers if not worker.is_idle]
        seconds_left = min(worker.deadline for worker in busy) - time.monotonic()
        ready = wait([worker.connection for worker in busy], max(0.0, seconds_left))
        return [worker for worker in busy if worker.connection in ready or worker.deadline <= time.monotonic()]

    def _read(self, worker: WorkerProcess, chunks: deque[list[Task]]) -> Iterator[tuple[int, Graded]]:
        """Take one message of a worker; without one, it is done for and its tasks go to others."""
        try:
            message = worker.receive()
        except (TimeoutError, EOFError) as error:
            is_late, ended = isinstance(error, TimeoutError), self._dismiss(worker)
            if not worker.is_ready:
                self._loads_left -= 1
                if self._loads_left:
                    return
                raise _not_loaded(f"not within {LOAD_TIMEOUT_S:g} s" if is_late else f"it ended {ended}") from error
            task, *others = worker.tasks
            if others:
                chunks.appendleft(others)
            if is_late and task.is_alone_to_blame:
                reason = f"gave no verdict within the {self._timeout_s:g} s of an attempt"
                yield task.index, task.unscorable("timeout", reason)
            elif not is_late and task.is_retry:
                yield task.index, task.unscorable("died", f"ended its process twice, the last time {ended}")
            else:
                chunks.appendleft([Task(task.index, task.attempt, task.rewards, is_retry=True)])
            return
        if worker.is_ready:
            task = worker.tasks[0]
            task.verdicts.append(message)
            if task.is_done:
                worker.finish_task()
                yield task.index, task.graded()
        elif message is None:
            worker.is_ready = True
            self._loads_left = self._num_workers + 2
        else:
            self._dismiss(worker)
            raise _not_loaded(message)

    def _dismiss(self, worker: WorkerProcess) -> str:
        self._workers.remove(worker)
        return worker.kill()


def default_workers() -> int:
    """Half of the cores that this process may use, shared with the launcher's other processes here; at least 1."""
    return max(1, len(os.sched_getaffinity(0)) // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _chunks(tasks: Sequence[Task], num_workers: int) -> deque[list[Task]]:
    size = max(1, min(_LARGEST_CHUNK, len(tasks) // (num_workers * _CHUNKS_PER_WORKER)))
    return deque(list(tasks[start : start + size]) for start in range(0, len(tasks), size))


def _kill_all(workers: list[WorkerProcess]) -> None:
    while workers:
        workers.pop().kill()


def _not_loaded(why: str) -> UserError:
    return UserError(
        f"the rewards load here, but not in a grading worker: {why}; need rewards that a process of their own can "
        "import, or grading.workers=0"
    )
