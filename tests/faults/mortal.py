"""Runs of `posttrain` in processes of their own that die by SIGKILL at a point that a test names.

The processes are forked from one that has the heavy libraries imported, so that a run costs its own time alone.
"""

import importlib
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.preloaded"])

TRAINING = "transformers:Trainer._inner_training_loop"
ROTATE = "posttrain.run_folder.checkpoints:CheckpointFolder.rotate"  # a new checkpoint is in place


class Kill(NamedTuple):
    """Where a process dies: at the `nth` call of a function (or method), before it begins or after its end."""

    function: str  # module:name or module:Class.name
    nth: int = 1
    after: bool = False
    rank: int = 0

    def install(self) -> None:
        """From now on this process is mortal."""
        calls = 0

        def killing(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            is_due = calls == self.nth
            if is_due and not self.after:
                die()
            result = original(*args, **kwargs)
            if is_due:
                die()
            return result

        wrap(self.function, killing)


class KillAtCall(NamedTuple):
    """The process dies at the nth event (call or return, in Python or C) of its main thread within a function.

    The count of a whole run goes to the file `count_to`, if one is named.
    """

    nth: int | None
    within: str = TRAINING
    count_to: str | None = None
    rank: int = 0

    def install(self) -> None:
        """From now on this process is mortal."""
        events = 0

        def count(*_: Any) -> None:
            nonlocal events
            events += 1
            if events == self.nth:
                die()

        def counted(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            sys.setprofile(count)
            try:
                return original(*args, **kwargs)
            finally:
                sys.setprofile(None)
                if self.count_to is not None:
                    Path(self.count_to).write_text(str(events))

        wrap(self.within, counted)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(target: str, wrapper: Callable[..., Any]) -> None:
    """Let `wrapper(original, *args, **kwargs)` answer the calls of a function or method."""
    module, _, path = target.partition(":")
    owner = importlib.import_module(module)
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: wrapper(original, *args, **kwargs))


class Ended(NamedTuple):
    """The exit code of a run, negative for a signal (of rank 0, or the killed rank), and what it wrote."""

    code: int
    out: str
    err: str


def posttrain(
    *words: str,
    cwd: Path,
    kill: Kill | KillAtCall | None = None,
    processes: int = 1,
    before: Callable[[], None] | None = None,
) -> Ended:
    """Run `posttrain WORDS` to its end; with several processes, a failure of one is the end of all, as under torchrun.

    Args:
        words: the command line.
        cwd: the working directory, where the recipe's own modules are found, too.
        kill: where the process dies.
        processes: started together, as a launcher would.
        before: done in the process first; a function of a module, to be found by its name.
    """
    files = [cwd / f".{name}.{rank}" for name in ("out", "err") for rank in range(processes)]
    port = str(_free_port())
    started = []
    for rank in range(processes):
        variables = {}
        if processes > 1:
            variables = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            variables |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        own = kill if kill is not None and kill.rank == rank else None
        process = CONTEXT.Process(
            target=_run, args=(words, cwd, files[rank], files[processes + rank], variables, own, before)
        )
        process.start()
        started.append(process)
    watched = started[kill.rank if kill is not None else 0]
    watched.join(timeout=500)
    code = watched.exitcode
    for process in started:
        if code == 0:
            process.join(timeout=60)
        process.kill()  # does nothing to one that has ended
        process.join()
    assert code is not None, "the run took longer than 500 s"
    out, err = (
        "".join(file.read_text(errors="replace") for file in half) for half in (files[:processes], files[processes:])
    )
    return Ended(code, out, err)


def _run(
    words: tuple[str, ...],
    cwd: Path,
    out: Path,
    err: Path,
    variables: dict[str, str],
    kill: Kill | KillAtCall | None,
    before: Callable[[], None] | None,
) -> None:
    for descriptor, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ |= variables
    os.chdir(cwd)
    sys.path.insert(0, str(cwd))
    if before is not None:
        before()
    if kill is not None:
        kill.install()
    from posttrain.cli import main

    code = main(words)
    sys.stdout.flush()
    sys.exit(code)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
