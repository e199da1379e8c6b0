"""How many may ask at once, in all processes of this machine: a lock on one of so many files."""

import fcntl
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_JITTER = random.SystemRandom()


@contextmanager
def slot(folder: Path, num_slots: int, deadline: float) -> Iterator[None]:
    """Hold one of the slots; the kernel gives it back when a process dies.

    Args:
        folder: where the files are.
        num_slots: how many there are.
        deadline: until when to wait for one (monotonic seconds).

    Raises:
        TimeoutError: all were taken until then.
    """
    while True:
        for index in _JITTER.sample(range(num_slots), num_slots):
            with (folder / f"slot-{index}.lock").open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield
                return
        if time.monotonic() >= deadline:
            raise TimeoutError(f"all {num_slots} slots taken")
        time.sleep(_JITTER.uniform(0.005, 0.03))
