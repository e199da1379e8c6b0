"""What preference learning trains on: the responses to one prompt, each with its weight in the loss."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.errors import UserError
from posttrain.models.packed import Branches

SIDES = ("chosen", "rejected")
PAIR_WEIGHTS = (1.0, -1.0)
LABELS = ("mode", "language")


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and its responses; a pair is a group of two.

    Attributes:
        branches: the prompt and the responses.
        weights: of each response, from -1 to 1: what is above 0 is to become likelier.
        untrained: how many tokens of each response, from the first on, bear no loss.
        labels: the mode and the language, as far as they are known.
    """

    branches: Branches
    weights: Sequence[float]
    untrained: Sequence[int]
    labels: tuple[str, ...] = ()

    @property
    def num_trained(self) -> list[int]:
        """Tokens of each response that bear loss."""
        return [len(ids) - untrained for ids, untrained in zip(self.branches.responses, self.untrained, strict=True)]


def make_group(row: Mapping[str, Any]) -> Group:
    """From `prompt_ids` with `chosen_ids` and `rejected_ids`, or with `completions` and their `weights`.

    A pair's `chosen_untrained` and `rejected_untrained`, a `mode` and a `language` may be missing or null.
    """
    labels = tuple(row[name] for name in LABELS if row.get(name) is not None)
    if row.get("completions") is not None:
        branches = Branches(row["prompt_ids"], row["completions"])
        return Group(branches, row["weights"], [0] * len(branches.responses), labels)
    branches = Branches(row["prompt_ids"], [row[f"{side}_ids"] for side in SIDES])
    return Group(branches, PAIR_WEIGHTS, [row.get(f"{side}_untrained") or 0 for side in SIDES], labels)


def require_trained(rows: Iterable[Mapping[str, Any]], where: str) -> None:
    """Check that there are prompts, and tokens to train: without one a response has no mean log-probability.

    Raises:
        UserError: names the first row (from 1) of which that is not so, and the side or the response (from 1).
    """
    for number, row in enumerate(rows, start=1):
        group = make_group(row)
        if not group.branches.prompt:
            raise UserError(f"{where}:{number}: prompt_ids is empty; drop the row")
        for index, trained in enumerate(group.num_trained):
            if trained < 1:
                what = f"the {SIDES[index]} side" if row.get("completions") is None else f"response {index + 1}"
                raise UserError(f"{where}:{number}: no token of {what} bears loss; drop the row")


def split_by_tokens(lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Cut groups into micro-batches of like numbers of tokens: the longest first, each to the smallest part.

    Args:
        lengths: tokens of each group, 1 or more; at least as many groups as parts.
        parts: micro-batches.

    Returns:
        Indices into `lengths`, every index once; no part is empty.
    """
    sizes = [(0, part) for part in range(parts)]
    members: list[list[int]] = [[] for _ in range(parts)]
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        size, part = heapq.heappop(sizes)
        members[part].append(index)
        heapq.heappush(sizes, (size + lengths[index], part))
    return members
