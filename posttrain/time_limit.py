"""The end of a process that waits for something which does not come."""

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def time_limit(seconds: float | None, what: str) -> Iterator[None]:
    """End this process with exit code 1 and the stacks of all its threads if the block takes longer.

    Nothing can be raised in a thread that waits within a library, for a dead peer or a device. What is left is what a
    crash leaves: checkpoints, and a supervisor that starts the run again.

    Args:
        seconds: of wall time; None: no limit.
        what: has not ended then, in words for the error.
    """
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, _end, (seconds, what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(seconds: float, what: str) -> None:
    resume = "the same command with --resume goes on from the last checkpoint"
    sys.stderr.write(f"error: {what} has not ended after {seconds:g} s, so this process ends; {resume}. It was at:\n")
    sys.stderr.flush()
    faulthandler.dump_traceback(all_threads=True)
    os._exit(1)
