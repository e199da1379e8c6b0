"""An engine in a process of its own, which samples while the trainer's process does something else.

Jobs are done in the order in which they were handed. The process ends with ours, whatever ends it.
"""

import os
import subprocess
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import Any, NamedTuple

from posttrain.child_process import ending_of, start_child
from posttrain.errors import UserError
from posttrain.inference.free_gpu import free_gpu
from posttrain.inference.policies import PolicySpec, SampledTokens
from posttrain.inference.weights_handover import Stamp

# A launcher's word to the trainer would make vLLM join its group, or look for its store at an address of vLLM's own.
_NOT_ITS_OWN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
_LAUNCHERS = "TORCHELASTIC_"


class Job(NamedTuple):
    """What the engine is asked for.

    Attributes:
        stamp: of the weights to sample with; a job with others than the last one brings them along.
        prompts_ids: each once.
        samples: completions of each prompt.
        seed: what the random numbers derive from.
        probe: sequences to score with these weights first.
    """

    stamp: Stamp
    prompts_ids: list[list[int]]
    samples: int
    seed: tuple[int, ...]
    probe: list[list[int]]


class Answer(NamedTuple):
    """What the engine gives.

    Attributes:
        stamp: of the weights that it holds.
        completions: prompt by prompt.
        probe_logps: of all tokens of each sequence of the probe but the first.
        began: when it had the weights, in seconds of the machine's clock.
        ended: when it was done.
    """

    stamp: Stamp
    completions: list[SampledTokens]
    probe_logps: list[list[float]]
    began: float
    ended: float


class EngineProcess:
    """The handle of a process that runs `posttrain.inference.engine_worker`; it starts to load at once.

    Attributes:
        pid: of the process.
    """

    def __init__(self, spec: PolicySpec) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in _NOT_ITS_OWN and not name.startswith(_LAUNCHERS)
        }
        environment = {**inherited, **free_gpu(os.environ)}
        self._process, ours = start_child("posttrain.inference.engine_worker", environment)
        self.pid = self._process.pid
        self._connection = Connection(ours.detach())
        self._end = weakref.finalize(self, _end, self._process, self._connection)
        self._send(spec)

    def hand(self, job: Job, weights: int | None) -> None:
        """Ask for samples.

        Args:
            job: what for.
            weights: descriptor of the file with the job's weights; None: they are those of the last job.

        Raises:
            RuntimeError: the process is dead.
        """
        self._send((job, weights is not None))
        if weights is not None:
            self._guarded(send_handle, self._connection, weights, self.pid)

    def take(self) -> Answer:
        """Wait for the answer to the first job that has none yet.

        Raises:
            UserError: the engine refuses the model or the settings.
            RuntimeError: it failed, or the process is dead.
        """
        answer = self._guarded(self._connection.recv)
        if isinstance(answer, UserError):
            raise answer
        if not isinstance(answer, Answer):
            raise RuntimeError(f"it failed in its own process: {answer}")
        return answer

    def close(self) -> None:
        """End the process, whatever it is at."""
        self._end()

    def _send(self, message: object) -> None:
        self._guarded(self._connection.send, message)

    def _guarded(self, work: Callable[..., Any], *args: Any) -> Any:
        try:
            return work(*args)
        except (EOFError, OSError) as error:
            self.close()
            raise RuntimeError(f"its process has ended {ending_of(self._process)}") from error


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    connection.close()
    process.kill()  # does nothing to one that has ended
    process.wait()
