"""One attempt at a stage: started, watched, and gone with all that it started when this is over."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.run_folder.heartbeat import read_beat
from posttrain.stacks import STACKS
from posttrain.supervisor.process_tree import ask_for_stacks, asked_to_end_with_parent, end_all, pass_on

START_S = 600.0  # libraries, data and model have at least this long before the first heartbeat
_POLL_S = 0.2


class Attempt(NamedTuple):
    """How an attempt ended.

    Attributes:
        exit_code: of the stage or of its launcher; -n where signal n ended it.
        step: the last one that it said it was at; 0 where it said nothing.
        asked_to_stop: a signal to the supervisor was passed on to it.
        hung_s: the seconds without a heartbeat after which it was ended; None: it ended by itself.
        stacks: of the processes of an attempt that hung.
        left: processes that the system could not end.
    """

    exit_code: int
    step: int
    asked_to_stop: bool = False
    hung_s: float | None = None
    stacks: str = ""
    left: Sequence[int] = ()


def attempt(command: Sequence[str], folder: Path, hang_after_s: float) -> Attempt:
    """Run the command to its end.

    SIGTERM and SIGINT are passed on; a second one ends everything at once.

    Args:
        command: the stage, or its launcher.
        folder: the run's, where the heartbeat is.
        hang_after_s: seconds without one after which the attempt is ended.
    """
    signals: list[int] = []
    with tempfile.TemporaryDirectory(prefix="posttrain-stacks-") as name, _caught(signals.append):
        stacks = Path(name)
        old = last = read_beat(folder)
        process = subprocess.Popen(
            command,
            start_new_session=True,  # ^C comes to us alone
            env={**os.environ, STACKS: str(stacks)},
            preexec_fn=asked_to_end_with_parent(),
        )
        since, num_passed_on, hung_s, trace = time.monotonic(), 0, None, ""
        while process.poll() is None:
            time.sleep(_POLL_S)
            if (beat := read_beat(folder)) != last:
                last, since = beat, time.monotonic()
            if len(signals) > 1:
                break
            if signals and not num_passed_on:
                pass_on(signals[0], stacks)
                num_passed_on = 1
            silent_s = time.monotonic() - since
            if silent_s > (max(hang_after_s, START_S) if last == old else hang_after_s):
                hung_s, trace = silent_s, ask_for_stacks(stacks)
                break
        if process.poll() is None:
            process.kill()
        exit_code = process.wait()
        left = end_all()  # ranks of a dead launcher, servers, whatever was started in the background
    step = last.step if last is not None and last != old else 0
    return Attempt(exit_code, step, bool(signals), hung_s, trace, left)


@contextmanager
def _caught(note: Callable[[int], Any]) -> Iterator[None]:
    """SIGTERM and SIGINT are noted and do nothing else."""
    old = {signum: signal.signal(signum, lambda got, _: note(got)) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)
