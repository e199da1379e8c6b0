"""`hub:owner/name@revision`: a data set of the Hugging Face hub, pinned to one commit."""

import re
from typing import NamedTuple

from posttrain.errors import UserError

PREFIX = "hub:"


class HubPath(NamedTuple):
    """The data set and the commit, 40 hexadecimal digits."""

    name: str
    revision: str


def parse_hub_path(path: str) -> HubPath | None:
    """What `path` names on the hub; None for a path of this machine.

    Raises:
        UserError: there is no revision, or one that may be another commit tomorrow: a branch, a tag, a short hash.
    """
    if not path.startswith(PREFIX):
        return None
    name, _, revision = path.removeprefix(PREFIX).partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"got {path!r}, need hub:owner/name@revision")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        got = f"revision {revision!r}" if revision else "no revision"
        raise UserError(
            f"got {got} in {path!r}, need the 40 hexadecimal digits of a commit, as a branch or a tag can move; "
            "the data set's page on the hub shows them under its history"
        )
    return HubPath(name, revision)
