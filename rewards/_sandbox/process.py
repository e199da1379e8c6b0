"""The process of a sandbox, from its start to the last of what it leaves."""

import enum
import os
import select
import signal
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rewards._sandbox import bubblewrap
from rewards._sandbox.failure import SandboxError
from rewards._sandbox.folder import job_folder
from rewards._sandbox.landlock import ruleset
from rewards._sandbox.limits import Limits
from rewards._sandbox.seccomp import KILLED_STATUS, filter_program
from rewards._sandbox.world import interpreter

_PYTHON = ("-s", "-S", "-P", "-B")  # no packages, nothing of the folder it starts in, no files written by it
_MOST_FILES = 1_000
_PATIENCE_S = 5.0  # with a process that was killed


class Tier(enum.Enum):
    """How an answer is isolated, the best first."""

    BUBBLEWRAP = "A: bubblewrap and seccomp"
    LANDLOCK = "B: Landlock and seccomp"
    UNSAFE = "unsafe: no isolation"


class End(NamedTuple):
    """How a process ended: its exit code, or whether SIGKILL ended it, and the CPU seconds it used."""

    exit_code: int
    is_killed: bool
    cpu_s: float


Stdio = tuple[int, int, int]


class Process:
    """An interpreter that runs `bootstrap` in isolation. It ends with the thread that started it.

    Args:
        tier: how it is isolated.
        limits: for what it may keep in files; the others it takes on itself.
        bootstrap: Python.
        channel: the descriptor that `bootstrap` talks through.
        stdio: its descriptors 0, 1 and 2.

    Raises:
        SandboxError: it cannot be started.

    Attributes:
        ruleset_fd: the descriptor of Landlock's rules in the process, where it has to take them on itself.
        seccomp: the filter that it has to take on itself.
    """

    def __init__(self, tier: Tier, limits: Limits, bootstrap: str, channel: int, stdio: Stdio) -> None:
        self.ruleset_fd: int | None = None
        self.seccomp: bytes | None = None
        self._tier = tier
        self._tmp_bytes = limits.tmp_mb * 2**20
        self._folder: Path | None = None
        self._end: End | None = None
        program = [interpreter(), *_PYTHON, "-c", bootstrap]
        with ExitStack() as kept, ExitStack() as handed_over:
            try:
                if tier is Tier.BUBBLEWRAP:
                    filter_fd = handed_over.enter_context(_readable(_filter_for_bubblewrap()))
                    command = bubblewrap.command(filter_fd, program, _environment("/tmp"), limits.tmp_mb)
                    self._popen = _start(command, {}, "/", stdio, [channel, filter_fd])
                else:
                    self._folder = folder = kept.enter_context(job_folder())
                    descriptors = [channel]
                    if tier is Tier.LANDLOCK:
                        self.seccomp = filter_program(allow_exec=False)
                        self.ruleset_fd = handed_over.enter_context(ruleset(folder))
                        descriptors.append(self.ruleset_fd)
                    self._popen = _start(program, _environment(str(folder)), str(folder), stdio, descriptors)
            except OSError as error:
                raise SandboxError(f"{tier.value}: {error}") from error
            self._kept = kept.pop_all()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended, at the latest after `timeout_s`."""
        if self._end is not None:
            return True
        watched = os.pidfd_open(self._popen.pid)
        try:
            poll = select.poll()
            poll.register(watched, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(watched)

    def end(self, *, grace_s: float) -> End:
        """Kill it unless it ends in time, with all that is in it, and remove what it has left."""
        if self._end is None:
            if not self.wait(grace_s):
                self._kill()
            _, status, usage = os.wait4(self._popen.pid, 0)
            exit_code = self._popen.returncode = os.waitstatus_to_exitcode(status)
            is_killed = exit_code in (KILLED_STATUS, -signal.SIGKILL)
            self._end = End(exit_code, is_killed, usage.ru_utime + usage.ru_stime)
            self._kept.close()
        return self._end

    @property
    def has_quota(self) -> bool:
        """Whether somebody has to watch what it stores, since the kernel does not."""
        return self._folder is not None

    def is_over_quota(self) -> bool:
        """Whether its files are too many or too large together, those included that have no name any more."""
        assert self._folder is not None
        size = 0
        for number, file in enumerate(_files_in(self._folder), start=1):
            size += file.st_blocks * 512
            if size > self._tmp_bytes or number > _MOST_FILES:
                return True
        device = self._folder.stat().st_dev
        for file in _files_in(f"/proc/{self._popen.pid}/fd"):
            if stat.S_ISREG(file.st_mode) and file.st_dev == device and not file.st_nlink:
                size += file.st_blocks * 512
        return size > self._tmp_bytes

    def waited_for_core_s(self) -> float:
        """Seconds in which it could have run and had no core; infinite where the kernel does not say."""
        try:
            pid = (self._inside() or [self._popen.pid])[0]
            return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return float("inf")

    def _inside(self) -> list[int]:
        """Within bubblewrap, the process that it watches over."""
        if self._tier is not Tier.BUBBLEWRAP:
            return []
        pid = self._popen.pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def _kill(self) -> None:
        # Inside first: bubblewrap then reaps it and ends too. Killed itself, it would leave that to the machine's
        # first process, which in a container often reaps nothing.
        inside = self._inside()
        for pid in inside:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not (inside and self.wait(_PATIENCE_S)):
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)


def _files_in(folder: Path | str) -> Iterator[os.stat_result]:
    """What is in a folder, links followed, but for what is gone by the time it is looked at."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                yield os.stat(entry.path)  # noqa: PTH116


def _start(
    command: Sequence[str], environment: Mapping[str, str], folder: str, stdio: Stdio, descriptors: Sequence[int]
) -> subprocess.Popen[bytes]:
    stdin, stdout, stderr = stdio
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        cwd=folder,
        pass_fds=descriptors,
        start_new_session=True,
    )


def _environment(tmp: str) -> dict[str, str]:
    """All that the answer sees of an environment; sets have the same order each time."""
    return {"HOME": tmp, "TMPDIR": tmp, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


@cache
def _filter_for_bubblewrap() -> bytes:
    return filter_program(allow_exec=True)


@contextmanager
def _readable(content: bytes) -> Iterator[int]:
    """A descriptor from which `content` can be read."""
    reading, writing = os.pipe()
    try:
        with open(writing, "wb") as pipe:  # noqa: PTH123  a descriptor
            pipe.write(content)
        yield reading
    finally:
        os.close(reading)
