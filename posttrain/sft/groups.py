"""Loss and trained tokens of each mode, and of each domain in it."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from posttrain.chat import MODES
from posttrain.data.encode import Encoded

NO_DOMAIN = "no domain"


class Groups:
    """The rows of one mode and one domain are a group; the id is an index into the sums that a trainer keeps.

    Args:
        domains: of all rows, in any order; None for rows without one.
    """

    def __init__(self, domains: Iterable[str | None]) -> None:
        self._domains = sorted({domain or NO_DOMAIN for domain in domains})
        self._index = {domain: index for index, domain in enumerate(self._domains)}

    def __len__(self) -> int:
        return len(MODES) * len(self._domains)

    def id_of(self, row: Encoded) -> int:
        """The group of a row."""
        return row.mode_id * len(self._domains) + self._index[row.domain or NO_DOMAIN]

    def sums(self, groups_BL: Tensor, places_N: Tensor, logps_N: Tensor) -> Tensor:
        """Loss and trained tokens [B, groups, 2] of each row of a batch.

        Args:
            groups_BL: Each token's group.
            places_N: The trained tokens, in the batch's rows laid one behind the other.
            logps_N: Their log-probabilities.
        """
        num_rows, length = groups_BL.shape
        index_N = places_N // length * len(self) + groups_BL.flatten()[places_N]
        values_N2 = torch.stack([-logps_N.detach().double(), torch.ones_like(logps_N, dtype=torch.float64)], dim=1)
        sums = values_N2.new_zeros(num_rows * len(self), 2).index_add_(0, index_N, values_N2)
        return sums.view(num_rows, len(self), 2)

    def named(self, sums_G2: Tensor) -> dict[str, tuple[float, float]]:
        """Loss and tokens by `mode`, and by `mode/domain` where there are several domains."""
        sums = sums_G2.view(len(MODES), len(self._domains), 2)
        named: dict[str, tuple[float, float]] = {}
        for mode, of_mode in zip(MODES, sums, strict=True):
            named[mode] = _pair(of_mode.sum(dim=0))
            if len(self._domains) > 1:
                named |= {f"{mode}/{domain}": _pair(of_mode[index]) for domain, index in self._index.items()}
        return named


def training_figures(named: Mapping[str, tuple[float, float]], before: Mapping[str, float]) -> dict[str, float]:
    """`loss/<group>` since the last log, `tokens/<group>` since the start of training, and `tokens/ratio`.

    Args:
        named: Loss and tokens since the last log.
        before: The last log that has token counts.
    """
    figures = _losses(named, "loss")
    for name, (_, tokens) in named.items():
        total = before.get(f"tokens/{name}", 0.0) + tokens
        if total or name in MODES:
            figures[f"tokens/{name}"] = total
    reasoning, direct = (figures[f"tokens/{mode}"] for mode in MODES)
    if reasoning and direct:
        figures["tokens/ratio"] = reasoning / direct
    return figures


def evaluation_figures(named: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """`eval_loss` over all trained tokens of the validation rows, and `eval_loss/<group>`."""
    loss, tokens = (sum(values) for values in zip(*(named[mode] for mode in MODES), strict=True))
    return {"eval_loss": loss / tokens, **_losses(named, "eval_loss")}


def _losses(named: Mapping[str, tuple[float, float]], prefix: str) -> dict[str, float]:
    return {f"{prefix}/{name}": loss / tokens for name, (loss, tokens) in named.items() if tokens}


def _pair(sums: Tensor) -> tuple[float, float]:
    loss, tokens = sums.tolist()
    return loss, tokens
