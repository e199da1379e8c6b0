"""Run an answer's code against the tests of a row: one result a test, None where it passes."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rewards._code_equal import is_equal, is_same_text
from rewards._code_rows import Calls, Checks, OneOf, Programs, Tests
from rewards._sandbox.failure import AnswerError, Cause
from rewards._sandbox.limits import Limits
from rewards._sandbox.process import Tier
from rewards._sandbox.sandbox import Sandbox

_SHOWN = 60  # characters of a value in a reason


class BrokenTestsError(Exception):
    """The tests of the row are at fault."""


@dataclass(frozen=True)
class Run:
    """One try at all tests, in sandboxes that end before `deadline` (monotonic seconds)."""

    tier: Tier
    limits: Limits
    deadline: float
    sources: tuple[str, ...]
    tolerance: float

    def results(self, tests: Tests) -> Iterator[AnswerError | None]:
        """What becomes of each test, in order; it ends early where nothing more can be run.

        Raises:
            SandboxError: the sandbox is at fault.
            BrokenTestsError: the tests are.
        """
        try:
            if isinstance(tests, Calls):
                yield from self._call(tests)
            elif isinstance(tests, Programs):
                yield from self._run(tests)
            else:
                yield from self._check(tests)
        except AnswerError as failure:
            yield failure

    def _sandbox(self) -> Sandbox:
        seconds_left = self.deadline - time.monotonic()
        if seconds_left <= 0:
            raise AnswerError(Cause.TIMEOUT_WALL, f"{self.limits.wall_s:g} s of wall time", is_over=True)
        return Sandbox(self.tier, replace(self.limits, wall_s=max(seconds_left, 0.1)))

    def _call(self, tests: Calls) -> Iterator[AnswerError | None]:
        with self._sandbox() as sandbox:
            sandbox.load(*self.sources)
            for arguments, expected in zip(tests.arguments, tests.expected, strict=True):
                try:
                    value = sandbox.call(tests.name, arguments)
                except AnswerError as failure:
                    if failure.is_over:
                        raise
                    yield failure
                    continue
                right = expected if isinstance(expected, OneOf) else (expected,)
                is_right = any(is_equal(value, one, self.tolerance) for one in right)
                yield None if is_right else _wrong(value, right[0])

    def _run(self, tests: Programs) -> Iterator[AnswerError | None]:
        """Programs share a process, which takes a tenth of the time; one that fails must do so in a fresh one too."""
        pending = deque(zip(tests.inputs, tests.expected, strict=True))
        while pending:
            with self._sandbox() as sandbox:
                is_fresh = True
                while pending and not sandbox.has_ended:
                    failure = self._run_program(sandbox, *pending[0])
                    if failure is not None and not is_fresh:
                        break
                    is_fresh = False
                    pending.popleft()
                    yield failure

    def _run_program(self, sandbox: Sandbox, stdin: str, expected: str) -> AnswerError | None:
        try:
            output = sandbox.run(*self.sources, stdin=stdin).decode("utf-8", "replace")
        except AnswerError as failure:
            if failure.is_over:
                raise
            return failure
        return None if is_same_text(output, expected) else _wrong(output, expected)

    def _check(self, tests: Checks) -> Iterator[AnswerError | None]:
        """The tests run in a sandbox of their own, so that the answer sees nothing of them but the calls."""
        with self._sandbox() as answer, self._sandbox() as driver:
            answer.load(*self.sources)
            for source in tests.sources:
                yield _check_one(answer, driver, ("check", tests.setup, source, tests.names, tests.entry))


def _check_one(answer: Sandbox, driver: Sandbox, request: tuple[Any, ...]) -> AnswerError | None:
    """One test: calls go from the driver to the answer, results back.

    Raises:
        AnswerError: one of the two is over.
        BrokenTestsError: the tests call with what is no plain value.
    """
    raised: AnswerError | None = None
    try:
        reply = driver.ask(*request)
        while reply[0] == "call":
            result: tuple[Any, ...]
            try:
                result = ("value", answer.call(*reply[1:]))
            except AnswerError as failure:
                if failure.is_over:
                    raise
                raised = failure
                name, _, text = failure.detail.partition(": ")
                result = ("raised", name, text)
            reply = driver.ask(*result)
    except AnswerError as failure:
        if failure.is_over:
            raise
        if failure.cause is Cause.WRONG:
            raise BrokenTestsError(failure.detail) from failure
        is_own = raised is not None and _kind(raised) == _kind(failure)
        return raised if is_own else AnswerError(Cause.WRONG, failure.detail)
    return None


def _kind(failure: AnswerError) -> str:
    return failure.detail.partition(":")[0]


def _wrong(value: object, expected: object) -> AnswerError:
    return AnswerError(Cause.WRONG, f"got {_short(value)}, expected {_short(expected)}")


def _short(value: object) -> str:
    text = repr(value[: 2 * _SHOWN] if isinstance(value, str | list) else value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
