"""Read the shares of a recipe: a number for each mode, or a number and the shares of its domains."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

FORM = "{reasoning: 1.5, non_reasoning: 1.0}, or for a mode {share: 1.5, domains: {math: 2, code: 1}}"


class ModeShare(NamedTuple):
    """The share of a mode, and those of its domains among each other; None: its domains are not told apart."""

    share: float
    domains: Mapping[str, float] | None


def read_shares(shares: Mapping[str, Any]) -> dict[str, ModeShare]:
    """The shares by mode.

    Raises:
        ValueError: They are not of that form.
    """
    if not shares:
        raise ValueError(f"ByTokens got no shares: give one for each mode, such as {FORM}")
    return {mode: _mode_share(f"mode {mode!r}", entry) for mode, entry in shares.items()}


def _mode_share(where: str, entry: Any) -> ModeShare:
    if not isinstance(entry, Mapping):
        return ModeShare(_share(where, entry), None)
    if set(entry) != {"share", "domains"}:
        raise ValueError(f"ByTokens got the keys {list(entry)} for {where}: its shares are of the form {FORM}")
    domains = entry["domains"]
    if not isinstance(domains, Mapping) or not domains:
        raise ValueError(f"ByTokens got the domains {domains!r} for {where}: need a share for each, as in {FORM}")
    return ModeShare(
        _share(where, entry["share"]),
        {domain: _share(f"domain {domain!r} of {where}", share) for domain, share in domains.items()},
    )


def _share(where: str, share: Any) -> float:
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share < math.inf:
        raise ValueError(
            f"ByTokens got the share {share!r} for {where}: a share is a positive number; to leave something out, "
            "remove its share and its rows"
        )
    return share
