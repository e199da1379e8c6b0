"""What preference learning trains on: the responses to one prompt, each with the weight of its probability in the loss."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.errors import UserError
from posttrain.models.packed import Branches

PAIR_WEIGHTS = (1.0, -1.0)
LABELS = ("mode", "language")


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and its responses; a pair is a group of two.

    Attributes:
        branches: the prompt and the responses; every token of a response is trained.
        weights: of each response, from -1 to 1: what is above 0 is to become likelier.
        labels: the mode and the language, as far as they are known.
    """

    branches: Branches
    weights: Sequence[float]
    labels: tuple[str, ...] = ()


def make_group(row: Mapping[str, Any]) -> Group:
    """A row of pairs (`prompt_ids`, `chosen_ids`, `rejected_ids`) or of groups (`prompt_ids`, `completions`, `weights`).

    `mode` and `language` may be missing or null.
    """
    is_pair = row.get("completions") is None
    responses = (row["chosen_ids"], row["rejected_ids"]) if is_pair else row["completions"]
    return Group(
        Branches(row["prompt_ids"], responses),
        PAIR_WEIGHTS if is_pair else row["weights"],
        tuple(row[name] for name in LABELS if row.get(name) is not None),
    )


def require_completions(rows: Iterable[Mapping[str, Any]], where: str) -> None:
    """Check that every group has a prompt, and responses with a token to train: others have no mean log-probability.

    Raises:
        UserError: names the first row (from 1) of which that is not so.
    """
    for number, row in enumerate(rows, start=1):
        if not row["prompt_ids"]:
            raise UserError(f"{where}:{number}: prompt_ids is empty; drop the group")
        for index, completion in enumerate(row["completions"]):
            if not completion:
                raise UserError(f"{where}:{number}: completion {index} is empty, it has no token to train; drop it")


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
