"""The processes of an attempt, however they have detached themselves."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from posttrain.stacks import ASK_FOR_STACKS

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
_SECONDS_TO_WRITE = 5.0
_SECONDS_TO_DIE = 30.0


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends: none of them is lost from sight."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def asked_to_end_with_parent() -> Callable[[], None]:
    """To be called in a new process: it gets SIGTERM when this one dies, whatever kills it."""
    prctl = ctypes.CDLL(None).prctl  # loaded before the fork
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def descendants() -> list[Any]:
    """Every process that this one or a descendant has started and that still runs, as psutil's."""
    found: list[Any] = psutil.Process().children(recursive=True)
    return found


def pass_on(signum: int, stacks: Path) -> None:
    """Send a signal to the stage's own processes, which know what to do with it; where there is none yet, to all."""
    tree = descendants()
    own = [process for process in tree if (stacks / str(process.pid)).exists()]
    for process in own or tree:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signum)


def ask_for_stacks(stacks: Path) -> str:
    """The stacks of all descendants that can tell them, each under its number and command line."""
    asked = [process for process in descendants() if (stacks / str(process.pid)).exists()]
    names = {}
    for process in asked:
        with suppress(psutil.NoSuchProcess):
            names[process.pid] = " ".join(process.cmdline())
            process.send_signal(ASK_FOR_STACKS)
    until = time.monotonic() + _SECONDS_TO_WRITE
    while time.monotonic() < until and not all((stacks / str(pid)).stat().st_size for pid in names):
        time.sleep(0.1)
    time.sleep(0.2)  # the rest of the threads
    return "\n".join(
        f"process {pid}: {name}\n{(stacks / str(pid)).read_text() or 'gave no stacks: stopped, or ending'}\n"
        for pid, name in names.items()
    )


def end_all() -> list[int]:
    """Kill every descendant and wait until it is gone; the numbers of those that the system cannot end."""
    until = time.monotonic() + _SECONDS_TO_DIE
    while (left := descendants()) and time.monotonic() < until:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)
    return [process.pid for process in left]
