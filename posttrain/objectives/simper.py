"""The SimPER preference loss, for pairs and for whole groups (SimPER paper; EXAONE 4.0 report, 2.4.3).

Shape suffixes: B sequences, T tokens, N groups (one group = one prompt), G responses per group. A pair is a group of
two responses with the weights 1 (chosen) and -1 (rejected).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class SimperLoss(NamedTuple):
    """Loss of each group, and the quantities it is made of.

    Attributes:
        loss_N: To be averaged over groups and differentiated; between -1 and 1.
        probs_NG: exp(mean token logp) of each response, detached; 0 where there is none.
    """

    loss_N: Float[Tensor, " N"]
    probs_NG: Float[Tensor, "N G"]


def mean_log_prob(logps_BT: Float[Tensor, "B T"], mask_BT: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Mean log-probability per trained token, in nats.

    Args:
        logps_BT: Log-probabilities of the response's tokens; any value where the mask is off.
        mask_BT: Tokens of the response.

    Raises:
        ValueError: A row has no token in its mask, so it has no mean.
    """
    num_tokens_B = mask_BT.sum(dim=1)
    if (num_tokens_B == 0).any():
        row = int((num_tokens_B == 0).nonzero()[0].item())
        raise ValueError(
            f"row {row} has no trained token: its response is empty or was truncated away; "
            "drop the pair, or allow a longer maximum length"
        )
    return torch.where(mask_BT, logps_BT, 0.0).sum(dim=1) / num_tokens_B


def group_weights(
    rewards_NG: Float[Tensor, "N G"], scorable_NG: Bool[Tensor, "N G"], *, std_floor: float = 1e-4
) -> Float[Tensor, "N G"]:
    """Rewards standardised within their group, then scaled to [-1, 1].

        z_i = (r_i - mean_j r_j) / std_j r_j,    w_i = z_i / max_j |z_j|

    So the response that is furthest from its group's mean weighs 1 or -1, an average one 0, and the weights of a group
    sum to 0. "Scaled" could also mean that the lowest becomes -1 and the highest 1, whatever the mean; then a single
    bad response would make all others, the worst of them too, examples to follow.

    Args:
        rewards_NG: Rewards; any value, NaN too, where the sample is unscorable.
        scorable_NG: Samples to use.
        std_floor: Rewards that differ by less (standard deviation of the group) count as equal.

    Returns:
        Weights; all 0 in a group of equal rewards and for unscorable samples.

    Raises:
        ValueError: A scorable sample has a reward that is not finite.
    """
    rewards = torch.where(scorable_NG, rewards_NG, 0.0).double()
    if not rewards.isfinite().all():
        group, sample = (~rewards.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"the reward of sample {sample} in group {group} is {rewards[group, sample].item()}: "
            "give a finite reward, or mark the sample as unscorable"
        )
    num_scorable = scorable_NG.sum(dim=1, keepdim=True).clamp(min=1)
    centred = torch.where(scorable_NG, rewards - rewards.sum(dim=1, keepdim=True) / num_scorable, 0.0)
    std = (centred.square().sum(dim=1, keepdim=True) / num_scorable).sqrt()
    largest = centred.abs().amax(dim=1, keepdim=True)  # the standard deviation cancels
    return torch.where(std < std_floor, 0.0, centred / largest.clamp(min=std_floor)).to(rewards_NG)


def simper_loss(
    mean_logp_NG: Float[Tensor, "N G"], weights_NG: Float[Tensor, "N G"], is_response_NG: Bool[Tensor, "N G"]
) -> SimperLoss:
    """`L = -2/G sum_i w_i p_i`, p the exponential of the mean token logp: no reference model, no hyperparameters.

    For a pair that is `-p(chosen) + p(rejected)`.

    Args:
        mean_logp_NG: Mean token logp of each response, from `mean_log_prob`; any value where there is no response.
        weights_NG: 1 and -1 for a pair; from `group_weights` for a group.
        is_response_NG: Groups need not have the same size.
    """
    probs_NG = torch.where(is_response_NG, mean_logp_NG, -torch.inf).exp()
    sizes_N = is_response_NG.sum(dim=1)
    return SimperLoss(-2 / sizes_N * (weights_NG * probs_NG).sum(dim=1), probs_NG.detach())
