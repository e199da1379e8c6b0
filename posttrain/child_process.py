"""Processes that work for this one: how they are started, how they end with it, and how they ended."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def start_child(module: str, environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Run a module of ours in a process and a session of its own; it finds what we would import.

    Its one argument is the descriptor of a socket.

    Returns:
        The process, and the other end of that socket.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what it prints is no output of ours
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # ^C stays with us, and what it has started can be killed with it
            env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    return process, ours


def end_with_parent() -> None:
    """Be killed with the parent, whatever ends it; and where memory runs out, be the one that is killed.

    To the kernel a parent is a thread: the one that started this process.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def ending_of(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, in words; waits for it."""
    exit_code = process.wait()
    return f"with exit code {exit_code}" if exit_code >= 0 else f"by {signal.Signals(-exit_code).name}"
