"""One sandbox, and the conversation with what runs in it: a request, a reply, until one of them is the last."""

import marshal
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rewards._sandbox.failure import AnswerError, Cause, SandboxError
from rewards._sandbox.limits import Limits
from rewards._sandbox.process import End, Process, Stdio, Tier
from rewards._sandbox.protocol import LONGEST_REPLY, decode, framed, request

_GRACE_S = 0.5  # to end by itself, once it is told that nothing more will come
_QUOTA_EVERY_S = 0.02
_LOG_CHARACTERS = 300
# What may come back on a request beside that it raised or that its result is unfit, and how much belongs to that.
_REPLIES = {
    **{"load": ("done",), "run": ("done",), "call": ("value",)},
    **dict.fromkeys(("check", "value", "raised"), ("done", "call")),
}
_LENGTHS = {"ready": 0, "done": 0, "value": 1, "call": 3}


class Sandbox:
    """A process that runs one answer. Use it as a context manager, in the thread that made it; nothing outlives it.

    Args:
        tier: how it is isolated.
        limits: what it may use up.

    Raises:
        SandboxError: it does not start.
    """

    def __init__(self, tier: Tier, limits: Limits) -> None:
        self._limits = limits
        self._deadline = time.monotonic() + limits.wall_s
        self._unread = bytearray()
        with ExitStack() as resources:
            self._stdio: Stdio = tuple(resources.enter_context(_file_in_memory()) for _ in range(3))  # type: ignore[assignment]
            self._channel, theirs = socket.socketpair()
            resources.enter_context(self._channel)
            with theirs:
                self._process = Process(tier, limits, _bootstrap(theirs.fileno()), theirs.fileno(), self._stdio)
            resources.callback(self._process.end, grace_s=0.0)
            self._await_ready(tier)
            self._resources = resources.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        self._process.end(grace_s=_GRACE_S)
        self._resources.close()

    def load(self, *sources: str) -> None:
        """Run the answer's module.

        Raises:
            AnswerError: it raises, or its process ends.
            SandboxError: the sandbox is at fault; in every method.
        """
        self.ask("load", list(sources))

    def call(self, name: str, arguments: list[Any], keywords: dict[str, Any] | None = None) -> Any:
        """What the answer's function returns, as a plain value.

        Raises:
            AnswerError: it raises, returns no plain value, or its process ends.
        """
        return self.ask("call", name, arguments, keywords or {})[1]

    def run(self, *sources: str, stdin: str) -> bytes:
        """What the answer prints as a program. When it ends its process, nothing more can be asked.

        Raises:
            AnswerError: it raises, prints too much, or ends with another exit code than 0.
        """
        for descriptor, content in zip(self._stdio, (stdin.encode("utf-8", "replace"), b""), strict=False):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, content, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            self.ask("run", list(sources))
        except AnswerError as failure:
            if failure.exit_code != 0:
                raise
        return os.pread(self._stdio[1], self._limits.file_mb * 2**20, 0)

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone."""
        return self._process.wait(0)

    def printed(self) -> str:
        """The last of what it wrote to stdout, then to stderr; for the log."""
        return "\n".join(_tail(descriptor, _LOG_CHARACTERS) for descriptor in self._stdio[1:]).strip()

    def ask(self, *words: Any) -> list[Any]:
        """The reply to a request: its kind, and what belongs to it.

        Raises:
            AnswerError: the answer raised, returned no plain value, or has ended.
        """
        try:
            self._channel.settimeout(self._seconds_left())
            self._channel.sendall(request(*words))
        except TimeoutError:
            raise self._out_of_time() from None
        except OSError:  # it has hung up
            raise self._ended() from None
        return self._reply(*_REPLIES[words[0]])

    def _reply(self, *expected: str) -> list[Any]:
        try:
            kind, *content = decode(self._line())
        except ValueError:
            raise self._meddling() from None
        if kind == "raised" and len(content) == 2:
            raise self._raised(*map(str, content))
        if kind == "unfit":
            raise AnswerError(Cause.WRONG, f"no result: {content[0] if content else 'nothing'}")
        if kind not in expected or len(content) != _LENGTHS[kind]:
            raise self._meddling()
        return [kind, *content]

    def _line(self) -> bytes:
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > LONGEST_REPLY:
                raise self._meddling()  # the runner sends no more than a MiB
            received = self._receive()
            if not received:
                raise self._ended()
            self._unread += received
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def _receive(self) -> bytes:
        while True:
            seconds = self._seconds_left()
            self._channel.settimeout(min(seconds, _QUOTA_EVERY_S) if self._process.has_quota else seconds)
            try:
                return self._channel.recv(65_536)
            except TimeoutError:
                if self._process.has_quota and self._process.is_over_quota():
                    self._process.end(grace_s=0.0)
                    limit = f"its files are more than {self._limits.tmp_mb} MiB together, or too many"
                    raise AnswerError(Cause.OUTPUT_LIMIT, limit, is_over=True) from None
                if time.monotonic() >= self._deadline:
                    raise self._out_of_time() from None
            except ConnectionError:
                return b""

    def _seconds_left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    def _await_ready(self, tier: Tier) -> None:
        """Send what runs inside, and wait until it has taken its limits.

        Raises:
            SandboxError: it does not get so far.
        """
        process = self._process
        settings = {
            "cpu_s": self._limits.cpu_s,
            "memory_mb": self._limits.memory_mb,
            "file_mb": self._limits.file_mb,
            "confine": None if tier is Tier.BUBBLEWRAP else _code("confine"),
            "parent": os.getpid(),
            "ruleset_fd": process.ruleset_fd,
            "seccomp": process.seccomp,
        }
        try:
            self._channel.sendall(framed(_code("runner")) + framed(marshal.dumps(settings)))
            is_ready = self._reply("ready") == ["ready"]
        except (OSError, AnswerError):
            is_ready = False
        if not is_ready:
            process.end(grace_s=0.0)
            raise SandboxError(f"{tier.value} does not start: {self.printed() or 'no word from it'}")

    def _raised(self, name: str, text: str) -> AnswerError:
        if os.fstat(self._stdio[1]).st_size >= self._limits.file_mb * 2**20:
            return AnswerError(Cause.OUTPUT_LIMIT, f"it printed more than {self._limits.file_mb} MiB")
        cause = Cause.MEMORY if name == "MemoryError" else Cause.EXCEPTION
        return AnswerError(cause, f"{name}: {text}".removesuffix(": "))

    def _out_of_time(self) -> AnswerError:
        waited_s = self._process.waited_for_core_s()
        used_s = self._process.end(grace_s=0.0).cpu_s
        was_starved = used_s < self._limits.cpu_s / 2 and waited_s > self._limits.wall_s / 4
        detail = f"{self._limits.wall_s:g} s of wall time, {used_s:.1f} s of CPU"
        return AnswerError(Cause.TIMEOUT_WALL, detail, is_over=True, was_starved=was_starved)

    def _ended(self) -> AnswerError:
        """Its process is gone, or can say nothing any more."""
        if not self._process.wait(self._seconds_left()):
            return self._out_of_time()
        end = self._process.end(grace_s=0.0)
        if end.is_killed:
            return self._killed(end)
        detail = f"its process ended, exit code {end.exit_code}"
        is_crash = end.exit_code < 0 or end.exit_code > 128
        cause = Cause.CRASH if is_crash or end.exit_code == 0 else Cause.EXCEPTION
        return AnswerError(cause, detail, is_over=True, exit_code=end.exit_code)

    def _meddling(self) -> AnswerError:
        self._process.end(grace_s=0.0)
        return AnswerError(Cause.CRASH, "it meddled with the channel of its results", is_over=True)

    def _killed(self, end: End) -> AnswerError:
        """SIGKILL ended it, which it cannot have sent itself.

        Raises:
            SandboxError: nobody here did it, so the machine has: it ran out of memory.
        """
        # The kernel counts ticks for the limit and time for the sum: on a busy machine the sum was 7 % short of it.
        if end.cpu_s > self._limits.cpu_s / 2:
            return AnswerError(Cause.TIMEOUT_CPU, f"{self._limits.cpu_s} s of CPU", is_over=True)
        raise SandboxError("its process was killed by the machine, as when that runs out of memory")


def _bootstrap(channel: int) -> str:
    """The program of the interpreter: code and settings come through the channel."""
    return (
        f"import marshal;f=open({channel},'rb');r=lambda:marshal.loads(f.read(int.from_bytes(f.read(4),'little')));"
        "s={'__name__':'runner'};exec(r(),s);s['main'](f,r())"
    )


@cache
def _code(module: str) -> bytes:
    """A module of this package as marshalled code."""
    path = Path(__file__).with_name(f"{module}.py")
    return marshal.dumps(compile(path.read_text(encoding="utf-8"), f"<{module}>", "exec"))


@contextmanager
def _file_in_memory() -> Iterator[int]:
    """A descriptor of a file without a name: a program sees a file as its stdin, and nobody has to empty a pipe."""
    descriptor = os.memfd_create("posttrain-sandbox")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _tail(descriptor: int, characters: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, characters, max(0, size - characters)).decode("utf-8", "replace").strip()
