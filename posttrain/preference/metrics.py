"""Figures of preference learning: means over groups since the last log, of all and of each mode and language."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

# Of each mode and language; the rejected probability is the difference, and lengths are the pair report's.
PER_LABEL = ("prob/chosen", "margin", "ordering_accuracy")


def group_figures(probs_NG: Tensor, weights_NG: Tensor, lengths_NG: Tensor) -> dict[str, Tensor]:
    """What is logged of each group [N]; there is no response where the length is 0.

    Chosen are the responses with a weight above 0, rejected those below; figures of a side are means over it. The
    ordering accuracy is the share of two responses with different weights of which the one to prefer is likelier.
    """
    is_chosen, is_rejected = weights_NG > 0, weights_NG < 0
    chosen, rejected = _mean(probs_NG, is_chosen), _mean(probs_NG, is_rejected)
    is_response = lengths_NG > 0
    are_both_NGG = is_response[:, :, None] & is_response[:, None, :]
    is_better_NGG = are_both_NGG & (weights_NG[:, :, None] > weights_NG[:, None, :])
    is_likelier_NGG = probs_NG[:, :, None] > probs_NG[:, None, :]
    return {
        "prob/chosen": chosen,
        "prob/rejected": rejected,
        "margin": chosen - rejected,
        "ordering_accuracy": (is_better_NGG & is_likelier_NGG).sum(dim=(1, 2)) / is_better_NGG.sum(dim=(1, 2)),
        "length/chosen": _mean(lengths_NG, is_chosen),
        "length/rejected": _mean(lengths_NG, is_rejected),
    }


def _mean(values_NG: Tensor, mask_NG: Tensor) -> Tensor:
    return torch.where(mask_NG, values_NG, 0.0).sum(dim=1) / mask_NG.sum(dim=1)


class LabelledMeans:
    """Adds up micro-batches on the device; a log costs one exchange between processes.

    Args:
        labels: what groups may be labelled with, the same in every process. A label that all groups carry says nothing
            that the overall mean does not: leave it out.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = list(labels)
        self._names: list[str] = []
        self._sums: Tensor | None = None  # [1 + labels, figures + 1]: sums, and the number of groups last

    @torch.no_grad()
    def add(self, figures: Mapping[str, Tensor], labels: Sequence[Sequence[str]]) -> None:
        """The figures [N] of some groups, and the labels of each."""
        self._names = list(figures)
        values = torch.stack([*figures.values(), torch.ones_like(next(iter(figures.values())))], dim=1)
        carries = [[True, *(label in of_group for label in self._labels)] for of_group in labels]
        sums = torch.tensor(carries, dtype=values.dtype, device=values.device).T @ values
        self._sums = sums if self._sums is None else self._sums + sums

    def pop(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The means of everything added since the last call; `reduce` adds up the processes' sums."""
        if self._sums is None:
            return {}
        rows, self._sums = reduce(self._sums).tolist(), None
        means = {}
        for label, (*sums, count) in zip(["", *self._labels], rows, strict=True):
            for name, value in zip(self._names, sums, strict=True):
                if count and (not label or name in PER_LABEL):
                    means[f"{name}/{label}" if label else name] = value / count
        return means
