"""Figures of rollouts and of updates, by the keys of `metrics.jsonl`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from posttrain.objectives import AgapoAdvantages, GroupType, kl_k3
from posttrain.rl.responses import MicroBatch, Response


def group_figures(result: AgapoAdvantages, outcomes_R: Tensor) -> dict[str, float]:
    """Shares of group types and their mean advantage, and of live and unscorable samples; outcomes may be NaN."""
    figures = {}
    for group_type in GroupType:
        name, is_type_N = group_type.name.lower(), result.types_N == group_type
        figures[f"groups/{name}"] = is_type_N.float().mean().item()
        if is_type_N.any():
            figures[f"advantage/{name}_mean"] = result.advantages_NG[is_type_N].mean().item()
    return figures | {
        "advantage/std": result.std.item(),
        "outcome": outcomes_R.nanmean().item(),
        "samples/live": result.is_live_NG.float().mean().item(),
        "samples/unscorable": outcomes_R.isnan().float().mean().item(),
    }


def token_figures(responses: Sequence[Response], sum_over_ranks: Callable[[int], int]) -> dict[str, float]:
    """Tokens of live responses, which are trained on, and of the others, which cost no forward pass."""
    live = sum(int(response.trained.sum()) for response in responses if response.is_live)
    total = sum(int(response.trained.sum()) for response in responses)
    return {"tokens/trained": sum_over_ranks(live), "tokens/spared": sum_over_ranks(total - live)}


class UpdateFigures(NamedTuple):
    """Means over the live tokens and responses of an optimizer step, all processes together.

    Attributes:
        tokens: live trained tokens.
        responses: live responses.
        entropy: nats a token.
        kl: nats a response, to the reference.
        scored_tokens: live tokens with a log-probability of the policy that sampled them.
        mismatch_kl: nats a token between that policy and the trainer (k3), over those.
        weight_mean: mean importance weight.
        weight_max: largest importance weight.
        ess: effective sample size of the importance weights, (sum w)^2 / (n sum w^2): 1 when all are equal.
    """

    tokens: float
    responses: float
    entropy: float
    kl: float
    scored_tokens: float
    mismatch_kl: float
    weight_mean: float
    weight_max: float
    ess: float


class UpdateSums:
    """Collects micro-batches on the device; the figures of a step cost one exchange between processes."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._largest: list[Tensor] = []

    @torch.no_grad()
    def add(
        self, batch: MicroBatch, logps_BT: Tensor, entropies_BT: Tensor, kl_B: Tensor, weights_BT: Tensor | None
    ) -> None:
        """One micro-batch; without importance weights they count as 1."""
        live_BT = batch.mask_BT & batch.is_live_B[:, None]
        weights = torch.ones_like(logps_BT) if weights_BT is None else weights_BT
        weights = weights.masked_fill(~live_BT, 0.0)
        mismatch, known = logps_BT.new_zeros(()), logps_BT.new_zeros(())
        if batch.sampling_logps_BT is not None:
            is_known_BT = live_BT & ~batch.sampling_logps_BT.isnan()
            mismatch = kl_k3(batch.sampling_logps_BT, logps_BT)[is_known_BT].sum()
            known = is_known_BT.sum()
        sums = (
            live_BT.sum(),
            batch.is_live_B.sum(),
            entropies_BT[live_BT].sum(),
            kl_B.sum(),
            mismatch,
            known,
            weights.sum(),
            weights.square().sum(),
        )
        self._sums.append(torch.stack([value.double() for value in sums]))
        self._largest.append(weights.max().double())

    def pop(self, gather: Callable[[Tensor], Tensor]) -> UpdateFigures:
        """The figures of everything added since the last call; `gather` stacks the processes' rows."""
        here = torch.cat([torch.stack(self._sums).sum(dim=0), torch.stack(self._largest).max()[None]])
        self._sums.clear()
        self._largest.clear()
        everywhere = gather(here[None])
        tokens, responses, entropy, kl, mismatch, known, weight, squares = everywhere[:, :-1].sum(dim=0).tolist()
        return UpdateFigures(
            tokens=tokens,
            responses=responses,
            entropy=entropy / max(tokens, 1.0),
            kl=kl / max(responses, 1.0),
            scored_tokens=known,
            mismatch_kl=mismatch / max(known, 1.0),
            weight_mean=weight / max(tokens, 1.0),
            weight_max=everywhere[:, -1].max().item(),
            ess=weight**2 / (tokens * squares) if squares > 0 else 1.0,
        )
