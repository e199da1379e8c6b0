"""The one exception that is the user's to mend, the hint its messages often carry, and what else ends a command."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

EXIT_USER_ERROR = 2
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later
EXIT_INTERRUPTED = 130  # 128 + SIGINT, the shells' convention


class UserError(ValueError):
    """The user's input is wrong.

    The message is one line: what I got, what I need, what to do. The command line prints it and exits with code 2.
    Where it speaks of many things of one kind, `details` has a line for each, printed below it.
    """

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = details


class Preempted(KeyboardInterrupt):
    """SIGTERM: the machine is wanted back. The same command with --resume goes on."""


def did_you_mean(word: object, known: Iterable[str], prefix: str = "") -> str:
    """`", did you mean 'x'?"` for the known word nearest to `word`, shown after `prefix`; empty when none is near."""
    nearest = get_close_matches(str(word), list(known), n=1)
    return f", did you mean {prefix + nearest[0]!r}?" if nearest else ""
