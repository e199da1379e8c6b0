"""The process behind `EngineProcess`: loads an engine, then does job after job.

A thread reads the jobs, so that whoever hands them never waits, and the end of the socket ends the process at once.
"""

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from queue import SimpleQueue

from posttrain.child_process import end_with_parent
from posttrain.environment import prepare_environment


def main(descriptor: int) -> None:
    """Serve whoever holds the other end of a socket."""
    from posttrain.errors import UserError
    from posttrain.inference.engine_process import Answer, Job
    from posttrain.inference.policies import open_policy
    from posttrain.inference.weights_handover import read_weights

    connection = Connection(descriptor)
    spec = connection.recv()
    jobs: SimpleQueue[tuple[Job, int | None]] = SimpleQueue()
    threading.Thread(target=_read_jobs, args=(connection, jobs), daemon=True).start()
    try:
        policy, stamp = open_policy(spec), None
        while True:
            job, weights = jobs.get()
            if weights is not None:
                policy.load(read_weights(weights, job.stamp))
                os.close(weights)
                stamp = job.stamp
            if stamp != job.stamp:
                raise RuntimeError(f"a job wants the weights of {job.stamp}, the engine holds those of {stamp}")
            probe_logps, began = policy.score(job.probe), time.time()
            completions = policy.sample(job.prompts_ids, job.samples, job.seed)
            connection.send(Answer(stamp, completions, probe_logps, began, time.time()))
    except UserError as error:
        connection.send(error)
    except Exception as error:  # noqa: BLE001  (the border of the process: the other side raises it)
        traceback.print_exc()
        connection.send(f"{type(error).__name__}: {error}")


def _read_jobs(connection: Connection, jobs: "SimpleQueue[tuple[object, int | None]]") -> None:
    with suppress(EOFError, OSError):
        while True:
            job, brings_weights = connection.recv()
            jobs.put((job, recv_handle(connection) if brings_weights else None))
    os._exit(0)


if __name__ == "__main__":
    end_with_parent()
    # A scheduler tells every process of a job to end soon; the trainer needs this one for its last checkpoint.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    prepare_environment()
    main(int(sys.argv[1]))
