"""What preference learning trains on: the responses to one prompt, each with the weight of its probability in the loss.

Shape suffixes: N groups, G responses of the largest group.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from posttrain.errors import UserError

PAIR_WEIGHTS = (1.0, -1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A prompt and its responses; a pair is a group of two.

    Attributes:
        prompt_ids: tokens of the prompt.
        completions: tokens of each response; all are trained.
        weights: of each response, from -1 to 1: what is above 0 is to become likelier.
        labels: the mode and the language, as far as they are known.
    """

    prompt_ids: Tensor
    completions: list[Tensor]
    weights: list[float]
    labels: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Tokens, with the prompt counted once."""
        return len(self.prompt_ids) + sum(len(completion) for completion in self.completions)


def make_group(row: Mapping[str, Any]) -> Group:
    """A row of pairs (`prompt_ids`, `chosen_ids`, `rejected_ids`) or of groups (`prompt_ids`, `completions`, `weights`).

    `mode` and `language` may be missing or null.
    """
    completions, weights = row.get("completions"), row.get("weights")
    if completions is None:
        completions, weights = (row["chosen_ids"], row["rejected_ids"]), PAIR_WEIGHTS
    return Group(
        prompt_ids=torch.tensor(row["prompt_ids"]),
        completions=[torch.tensor(ids) for ids in completions],
        weights=list(weights or ()),
        labels=tuple(row[name] for name in ("mode", "language") if row.get(name) is not None),
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
