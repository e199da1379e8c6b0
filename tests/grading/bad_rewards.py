"""Rewards that go wrong at the answers that ask for it, for worker processes to import; the others are right."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rewards.contract import Attempt, Verdict

RIGHT = Verdict(1.0, outcome=True, extracted="x")


def fine(attempt: Attempt) -> Verdict:
    return Verdict(0.5, reason=attempt.answer)


def breaks_at_b(attempt: Attempt) -> Verdict:
    if attempt.answer == "b":
        raise ZeroDivisionError("b")
    return RIGHT


def bad(attempt: Attempt) -> Any:
    """Does what the answer says."""
    deed, _, detail = attempt.answer.partition(" ")
    return _DEEDS[deed](detail) if deed in _DEEDS else RIGHT


def bad_trl(completions: list[Any], **_: Any) -> Any:
    """The same for TRL."""
    deed, _, detail = completions[0][0]["content"].partition(" ")
    return _DEEDS[deed](detail) if deed in _DEEDS else [2.5]


def modules(attempt: Attempt) -> Verdict:
    """Which heavy modules this process has imported, how many threads it may use, and what it does at ^C."""
    heavy = [name for name in ("torch", "transformers", "numpy", "trl", "vllm", "rich") if name in sys.modules]
    ignores = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return Verdict(1.0, reason=f"{heavy} {os.environ['OMP_NUM_THREADS']} {ignores}")


def process(attempt: Attempt) -> Verdict:
    """This process's number."""
    return Verdict(1.0, reason=str(os.getpid()))


def _raise(detail: str) -> None:
    raise ZeroDivisionError(detail)


def _exit(detail: str) -> None:
    sys.exit(detail)


def _spin(_: str) -> None:
    while True:
        pass


def _match(_: str) -> None:
    """Keeps the interpreter's lock for longer than the world lasts."""
    import re

    re.match(r"(a|a)*$", "a" * 80 + "b")


def _die_once(marker: str) -> Any:
    if Path(marker).exists():
        return RIGHT
    Path(marker).touch()
    os._exit(3)


def _with_child(marker: str) -> None:
    child = subprocess.Popen(["sleep", "600"])
    Path(marker).write_text(str(child.pid))
    time.sleep(600)


_DEEDS = {
    "raise": _raise,
    "sys.exit": _exit,
    "sleep": lambda _: time.sleep(600),
    "nap": lambda _: time.sleep(0.05) or RIGHT,
    "spin": _spin,
    "match": _match,
    "os._exit": lambda _: os._exit(3),
    "die-once": _die_once,
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
    "with-child": _with_child,
    "float": lambda _: 0.5,
    "none": lambda _: None,
    "nan": lambda _: Verdict(float("nan")),
    "text": lambda _: Verdict("1"),  # type: ignore[arg-type]
    "outcome": lambda _: Verdict(1.0, outcome="yes"),  # type: ignore[arg-type]
    "extracted": lambda _: Verdict(1.0, extracted=7),  # type: ignore[arg-type]
    "none-list": lambda _: [None],
    "nan-list": lambda _: [float("nan")],
    "text-list": lambda _: ["good"],
    "two-list": lambda _: [1.0, 0.0],
}
