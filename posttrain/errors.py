"""The one exception that is the user's to mend, and the hint its messages often carry."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """The user's input is wrong.

    The message is one line: what I got, what I need, what to do. The command line prints it and exits with code 2.
    """


def did_you_mean(word: object, known: Iterable[str], prefix: str = "") -> str:
    """`", did you mean 'x'?"` for the known word nearest to `word`, shown after `prefix`; empty when none is near."""
    nearest = get_close_matches(str(word), list(known), n=1)
    return f", did you mean {prefix + nearest[0]!r}?" if nearest else ""
