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
    """The last beat of the run in a folder, and of the runs within it; None where there is none that can be read.

    Where runs follow each other within one, as the lengths of a growing context, their steps are added up.
    """
    beats = [beat for path in (folder, *folder.glob("*/")) if (beat := _read(path)) is not None]
    if not beats:
        return None
    return max(beats, key=lambda beat: beat.monotonic)._replace(step=sum(beat.step for beat in beats))


def _read(folder: Path) -> Beat | None:
    try:
        return Beat(**json.loads((folder / HEARTBEAT).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
