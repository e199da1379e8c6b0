"""One line of the doctor's: what was looked at, what was found, and what to do."""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How bad it is.

    A `warning` leaves a run possible, slower or smaller or without something. A `fix` stands in the way of one.
    """

    OK = "ok"
    WARNING = "warning"
    FIX = "fix"


class Finding(NamedTuple):
    """What was looked at, in a word or two; what was found; and what to do, empty where all is well."""

    state: State
    what: str
    found: str
    advice: str = ""


def ok(what: str, found: str) -> Finding:
    """All is well."""
    return Finding(State.OK, what, found)


def warning(what: str, found: str, advice: str) -> Finding:
    """A run is possible."""
    return Finding(State.WARNING, what, found, advice)


def fix(what: str, found: str, advice: str) -> Finding:
    """A run is not possible, or goes wrong."""
    return Finding(State.FIX, what, found, advice)
