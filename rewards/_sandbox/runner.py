"""Runs inside the sandbox: reads the answer and its inputs, sends back what comes out, as plain values in JSON.

What this file says holds until the answer runs; from then on the process does what the answer wants. So it is told no
expected result, and the other side believes nothing that it sends but its form. It is sent as code, so it imports
nothing of ours, and no module that costs time at each start: `typing`, `types` and `json` take longer than all else.

Requests are marshalled tuples behind their length in four bytes; replies are arrays of JSON, one a line:

    ("load", [prelude and answer])        -> ["done"]
    ("call", name, arguments, keywords)   -> ["value", result]
    ("run", [prelude and program])        -> ["done"]; it reads descriptor 0 and writes to 1
    ("check", setup, tests, names, entry) -> ["done"], after any number of
                                             ["call", name, arguments, keywords] -> ("value", result) or ("raised", ...)

A reply may also be ["raised", type, text], or ["unfit", why] for a result that is no plain value.
"""

from __future__ import annotations

import builtins
import marshal
import os
import resource
import sys
from _json import encode_basestring_ascii as encode_text  # a part of `json` that needs no `re`

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, BinaryIO, NoReturn

MAX_DEPTH = 60
MAX_CHARACTERS = 2**20
_SMALL = 2**53  # integers beyond are sent in base 16, which takes no quadratic time


class UnfitError(Exception):
    """A value that cannot be sent."""


def encode(value: Any, depth: int = 0) -> str:
    """Plain values (None, bool, int, float, str, list, tuple, set, dict) as JSON that keeps their types.

    An instance of a subclass is sent as the plain value that it holds. Where JSON has no such type it is an object with
    one key: {"t": items} a tuple, {"s": items} a set, {"d": pairs} a dictionary, {"i": digits} a large integer.

    Raises:
        UnfitError: another type, or more than 1 MiB or 60 levels.
    """
    if value is None or value is True or value is False:
        return "null" if value is None else "true" if value else "false"
    kind = type(value).__mro__
    if str in kind:
        text = encode_text(value)
        if len(text) > MAX_CHARACTERS:
            raise UnfitError("it is larger than 1 MiB")
        return text
    if int in kind:
        number = int.__index__(value)
        return int.__repr__(number) if -_SMALL < number < _SMALL else f'{{"i":"{number:x}"}}'
    if float in kind:
        digits = float.__repr__(value)
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(digits, digits)
    if depth == MAX_DEPTH:
        raise UnfitError(f"it is nested more than {MAX_DEPTH} deep")
    if list in kind:
        return _encode_all(list.__iter__(value), depth, "[", "]")
    if tuple in kind:
        return _encode_all(tuple.__iter__(value), depth, '{"t":[', "]}")
    for of_set in (set, frozenset):
        if of_set in kind:
            return _encode_all(of_set.__iter__(value), depth, '{"s":[', "]}")
    if dict in kind:
        pairs = ([key, item] for key, item in dict.items(value))
        return _encode_all(pairs, depth, '{"d":[', "]}")
    raise UnfitError(f"it is a {type(value).__name__}, and only plain values can be compared")


def _encode_all(items: Any, depth: int, opening: str, closing: str) -> str:
    parts, size = [], 0
    for item in items:
        parts.append(encode(item, depth + 1))
        size += len(parts[-1]) + 1
        if size > MAX_CHARACTERS:
            raise UnfitError("it is larger than 1 MiB")
    return opening + ",".join(parts) + closing


class Runner:
    """The requests' side of the process: one answer, and the channel to the one who asks."""

    def __init__(self, requests: BinaryIO) -> None:
        self._requests = requests
        self._channel = requests.fileno()
        self._stdin, self._stdout = os.dup(0), os.dup(1)
        self._answer = _module("answer")

    def serve(self) -> NoReturn:
        """Answer requests until the other side hangs up."""
        while request := self._receive():
            try:
                reply = getattr(self, request[0])(*request[1:])
            except UnfitError as error:
                reply = f'["unfit",{encode(str(error))}]'
            except BaseException as error:  # noqa: BLE001  whatever an answer raises is a result
                reply = f'["raised",{encode(type(error).__name__)},{encode(_words(error))}]'
            self._send(reply)
        os._exit(0)

    def load(self, sources: list[str]) -> str:
        """Run the answer's module."""
        _execute(sources, "answer.py", self._answer.__dict__)
        return '["done"]'

    def call(self, name: str, arguments: list[Any], keywords: dict[str, Any]) -> str:
        """Call the answer's function, or, as on LeetCode, the method of its class `Solution`."""
        names = self._answer.__dict__
        if name in names:
            function = names[name]
        elif "Solution" in names:
            function = getattr(names["Solution"](), name)
        else:
            raise NameError(f"the code defines no {name!r}")
        return f'["value",{encode(function(*arguments, **keywords))}]'

    def run(self, sources: list[str]) -> str:
        """Run the answer as a program of its own."""
        os.dup2(self._stdin, 0)
        os.dup2(self._stdout, 1)
        for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w")):
            stream = open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        try:
            _execute(sources, "answer.py", _module("__main__").__dict__)
        except SystemExit as error:
            if error.code not in (None, 0):
                raise
        _end_as_a_process_does()
        return '["done"]'

    def check(self, setup: str, tests: str, names: list[str], entry: str | None) -> str:
        """Run tests whose `names` stand for functions of an answer elsewhere, and their `check` of `entry`, if any."""
        scope: dict[str, Any] = {"__name__": "tests"}
        _execute([setup], "setup.py", scope)
        scope |= {name: self._stand_in(name) for name in names}
        _execute([tests], "tests.py", scope)
        if entry is not None and "check" in scope:
            scope["check"](scope[entry])
        return '["done"]'

    def _stand_in(self, name: str) -> Any:
        def stand_in(*arguments: Any, **keywords: Any) -> Any:
            self._send(f'["call",{encode(name)},{encode(list(arguments))},{encode(keywords)}]')
            kind, *content = self._receive() or os._exit(1)
            if kind == "value":
                return content[0]
            error = getattr(builtins, content[0], Exception)
            is_error = isinstance(error, type) and issubclass(error, Exception)
            raise (error if is_error else Exception)(content[1])

        return stand_in

    def _receive(self) -> Any:
        """The next request; None at the end."""
        length = self._requests.read(4)
        return marshal.loads(self._requests.read(int.from_bytes(length, "little"))) if len(length) == 4 else None

    def _send(self, reply: str) -> None:
        rest = memoryview(reply.encode() + b"\n")
        while rest:
            rest = rest[os.write(self._channel, rest) :]


def _module(name: str) -> ModuleType:
    module = sys.modules[name] = type(sys)(name)
    return module


def _execute(sources: list[str], name: str, scope: dict[str, Any]) -> None:
    for source in sources:
        exec(compile(source, name, "exec", dont_inherit=True), scope)


def _words(error: BaseException) -> str:
    try:
        return str(error)[:300]
    except BaseException:  # noqa: BLE001  the answer may have written the exception's class
        return ""


def _end_as_a_process_does() -> None:
    """Wait for threads, call what is registered for the exit, and write what is still in a buffer."""
    threading = sys.modules.get("threading")
    if threading is not None:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
    import atexit

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()


def set_limits(cpu_s: int, memory_mb: int, file_mb: int) -> None:
    """Bind this process for good: the hard limits are the same.

    At the CPU limit the kernel kills. It would warn at a lower soft limit, but process 1 of bubblewrap is deaf to it.
    """
    mib = 2**20
    for limit, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_mb * mib),
        (resource.RLIMIT_FSIZE, file_mb * mib),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (bounded, bounded))


def main(requests: BinaryIO, settings: dict[str, Any]) -> NoReturn:
    """Take the limits, say so, and serve."""
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]  # the module `site`, left out, defines them
    set_limits(settings["cpu_s"], settings["memory_mb"], settings["file_mb"])
    if settings["confine"]:
        scope: dict[str, Any] = {"__name__": "confine"}
        exec(marshal.loads(settings["confine"]), scope)
        scope["confine"](settings["parent"], settings["ruleset_fd"], settings["seccomp"])
    os.write(requests.fileno(), b'["ready"]\n')
    Runner(requests).serve()
