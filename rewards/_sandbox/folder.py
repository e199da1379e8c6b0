"""The folder where an answer keeps its files, where no namespace gives it one of its own."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_PREFIX = "posttrain-sandbox-"
_OLD_S = 60.0  # a younger one may be about to be locked


@contextmanager
def job_folder() -> Iterator[Path]:
    """An empty folder that is removed at the end, or, where we are killed before, by the next one who makes one."""
    _remove_abandoned(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@cache
def _remove_abandoned(parent: str) -> None:
    """Those whose lock nobody holds: the system frees it when a process dies. Once a process is enough."""
    for folder in Path(parent).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime < _OLD_S:
                continue
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
