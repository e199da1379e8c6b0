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
        old = read_beat(folder)
        process = subprocess.Popen(
            command,
            start_new_session=True,  # ^C comes to us alone
            env={**os.environ, STACKS: str(stacks)},
            preexec_fn=asked_to_end_with_parent(),
        )
        try:
            hung_s = _wait(process, folder, stacks, signals, hang_after_s)
            trace = "" if hung_s is None else ask_for_stacks(stacks)
        finally:
            process.kill()  # does nothing to one that has ended
            exit_code = process.wait()
            left = end_all()  # ranks of a dead launcher, servers, whatever was started in the background
    last = read_beat(folder)
    step = last.step if last is not None and last != old else 0
    return Attempt(exit_code, step, bool(signals), hung_s, trace, left)


def _wait(
    process: subprocess.Popen[bytes], folder: Path, stacks: Path, signals: Sequence[int], hang_after_s: float
) -> float | None:
    """Until the process has ended, a second signal has come, or it hangs; the seconds that it has been silent then."""
    last, since, patience_s, is_asked = read_beat(folder), time.monotonic(), max(hang_after_s, START_S), False
    while process.poll() is None and len(signals) < 2:
        time.sleep(_POLL_S)
        if (beat := read_beat(folder)) != last:
            last, since, patience_s = beat, time.monotonic(), hang_after_s
        if signals and not is_asked:
            pass_on(signals[0], stacks)
            is_asked = True
        if (silent_s := time.monotonic() - since) > patience_s:
            return silent_s
    return None


@contextmanager
def _caught(note: Callable[[int], Any]) -> Iterator[None]:
    """SIGTERM and SIGINT are noted and do nothing else."""
    old = {signum: signal.signal(signum, lambda got, _: note(got)) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)
