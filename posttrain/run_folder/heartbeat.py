"""A sign of life in a run's folder, for whoever watches the run from outside."""

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

HEARTBEAT = "heartbeat.json"


class Beat(NamedTuple):
    """How far a run is, and when it said so.

    Attributes:
        step: optimizer steps; chunks of work in a stage that makes none.
        time: Unix seconds, for people: that clock may be set.
        monotonic: seconds of this machine's clock that only goes forward; tells one beat from the next.
        pid: the process that said so.
    """

    step: int
    time: float
    monotonic: float
    pid: int


def write_beat(folder: Path, step: int) -> None:
    """Say that the run is alive; a reader sees the old beat or the new one, and a power cut may lose both."""
    aside = folder / f"{HEARTBEAT}.aside"
    aside.write_text(json.dumps(Beat(step, time.time(), time.monotonic(), os.getpid())._asdict()) + "\n")
    aside.replace(folder / HEARTBEAT)


def read_beat(folder: Path) -> Beat | None:
    """The last beat; None where there is none that can be read."""
    try:
        return Beat(**json.loads((folder / HEARTBEAT).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
