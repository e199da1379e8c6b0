"""The SimPER preference loss (SimPER paper; EXAONE 4.0 report, 2.4.3).

Shape suffixes: B sequences (or pairs), T tokens.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class SimperLoss(NamedTuple):
    """Loss of each pair, and the two quantities it is made of.

    Attributes:
        loss_B: To be averaged over pairs and differentiated; between -1 and 1.
        chosen_prob_B: exp(mean token logp) of the chosen response, detached.
        rejected_prob_B: The same of the rejected one.
    """

    loss_B: Float[Tensor, " B"]
    chosen_prob_B: Float[Tensor, " B"]
    rejected_prob_B: Float[Tensor, " B"]


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


def simper_loss(chosen_mean_logp_B: Float[Tensor, " B"], rejected_mean_logp_B: Float[Tensor, " B"]) -> SimperLoss:
    """`L = -exp(chosen) + exp(rejected)` over mean token log-probabilities: no reference model, no hyperparameters.

    Args:
        chosen_mean_logp_B: Mean token logp of the chosen responses, from `mean_log_prob`.
        rejected_mean_logp_B: The same of the rejected ones.
    """
    chosen_prob_B, rejected_prob_B = chosen_mean_logp_B.exp(), rejected_mean_logp_B.exp()
    return SimperLoss(rejected_prob_B - chosen_prob_B, chosen_prob_B.detach(), rejected_prob_B.detach())
