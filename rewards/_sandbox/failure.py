"""How a sandbox ends other than well: by the answer's fault, or by its own."""

import enum


class SandboxError(RuntimeError):
    """The sandbox, not the answer, is at fault: nothing is known about the answer."""


class Cause(enum.StrEnum):
    """Why an answer is not right."""

    WRONG = "wrong"
    EXCEPTION = "exception"
    TIMEOUT_CPU = "timeout_cpu"
    TIMEOUT_WALL = "timeout_wall"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    CRASH = "crash"


class AnswerError(Exception):
    """The answer failed.

    Attributes:
        cause: how.
        detail: in words.
        is_over: its process is gone too.
        was_starved: it ran out of time while it used less than half of its CPU limit and waited for a core.
        exit_code: of a process that ended by itself.
    """

    def __init__(
        self,
        cause: Cause,
        detail: str,
        *,
        is_over: bool = False,
        was_starved: bool = False,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail
        self.is_over = is_over
        self.was_starved = was_starved
        self.exit_code = exit_code
