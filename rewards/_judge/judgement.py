"""The judge's reply: one JSON object of a given form, or nonsense."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from rewards._printable import printable

_LONGEST_REASON = 300  # characters
_SHOWN = 80  # characters


class Judgement(NamedTuple):
    """What the judge says.

    Attributes:
        verdict: one of the words it may answer; None: it said nothing that counts.
        reason: why.
    """

    verdict: str | None
    reason: str


class NonsenseError(Exception):
    """The endpoint answered, and it was no verdict."""


def schema(verdicts: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a reply."""
    return {
        "type": "object",
        "properties": {  # a model that decodes by the schema writes the reason first, and so thinks before it decides
            "reason": {"type": "string"},
            "verdict": {"type": "string", "enum": list(verdicts)},
        },
        "required": ["reason", "verdict"],
        "additionalProperties": False,
    }


def read_judgement(reply: str, verdicts: Sequence[str]) -> Judgement:
    """The verdict of a reply that is `{"reason": "...", "verdict": "..."}` and nothing more.

    Args:
        reply: all that the model said.
        verdicts: the words that the verdict may be.

    Raises:
        NonsenseError: it is anything else: words around the object, other keys, a key twice, another verdict.
    """
    try:
        given = json.loads(reply, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise NonsenseError(f"no JSON object: {_excerpt(reply)}") from error
    if not isinstance(given, dict) or given.keys() != {"reason", "verdict"} or not isinstance(given["reason"], str):
        raise NonsenseError(f"not of the form {{reason, verdict}}: {_excerpt(reply)}")
    if given["verdict"] not in list(verdicts):
        raise NonsenseError(f"the verdict is none of {', '.join(verdicts)}: {_excerpt(reply)}")
    reason = printable(" ".join(given["reason"].split()), _LONGEST_REASON)
    return Judgement(given["verdict"], reason)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("a key twice")
    return given


def _excerpt(reply: str) -> str:
    return printable(repr(reply[:_SHOWN] + "…" * (len(reply) > _SHOWN)), None)
