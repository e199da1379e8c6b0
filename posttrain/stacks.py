"""What a process is at, for a supervisor that asks: the stacks of all its threads, by signal."""

import faulthandler
import os
import signal
from pathlib import Path

STACKS = "POSTTRAIN_STACKS"  # the environment variable with the folder that the stacks go to
ASK_FOR_STACKS = signal.SIGUSR1


def register_stacks() -> None:
    """Under a supervisor, write the stacks to a file of this process's number when it asks; it works in a hang, too.

    The file, empty at first, is also how the supervisor knows the stage's own processes from those of a launcher.
    """
    folder = os.environ.get(STACKS)
    if folder and Path(folder).is_dir():
        file = (Path(folder) / str(os.getpid())).open("a")
        faulthandler.register(ASK_FOR_STACKS, file=file, all_threads=True)
        _open_files.append(file)


_open_files: list[object] = []  # a file that is collected is closed
