"""The judge's reply: one JSON object of a given form, or nonsense."""

import json
from typing import Any, NamedTuple

from rewards._printable import printable

SCHEMA = {
    "type": "object",
    "properties": {  # a model that decodes by the schema writes the reason first, and so thinks before it decides
        "reason": {"type": "string"},
        "verdict": {"type": "string", "enum": ["right", "wrong"]},
    },
    "required": ["reason", "verdict"],
    "additionalProperties": False,
}
_LONGEST_REASON = 300  # characters
_SHOWN = 80  # characters


class Judgement(NamedTuple):
    """What the judge says.

    Attributes:
        is_right: None: it said nothing that counts.
        reason: why.
    """

    is_right: bool | None
    reason: str


class NonsenseError(Exception):
    """The endpoint answered, and it was no verdict."""


def read_judgement(reply: str) -> Judgement:
    """The verdict of a reply that is `{"reason": "...", "verdict": "right" | "wrong"}` and nothing more.

    Raises:
        NonsenseError: it is anything else: words around the object, other keys, a key twice, another verdict.
    """
    try:
        given = json.loads(reply, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise NonsenseError(f"no JSON object: {_excerpt(reply)}") from error
    if not isinstance(given, dict) or given.keys() != {"reason", "verdict"} or not isinstance(given["reason"], str):
        raise NonsenseError(f"not of the form {{reason, verdict}}: {_excerpt(reply)}")
    if given["verdict"] not in ("right", "wrong"):
        raise NonsenseError(f"the verdict is neither right nor wrong: {_excerpt(reply)}")
    reason = printable(" ".join(given["reason"].split()), _LONGEST_REASON)
    return Judgement(given["verdict"] == "right", reason)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("a key twice")
    return given


def _excerpt(reply: str) -> str:
    return printable(repr(reply[:_SHOWN] + "…" * (len(reply) > _SHOWN)), None)
