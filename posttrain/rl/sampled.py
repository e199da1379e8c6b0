"""What generations give, and which of their groups are worth an update."""

from typing import NamedTuple

import torch
from torch import Tensor

from posttrain.objectives import AgapoAdvantages
from posttrain.rl.responses import Response


class Rollouts(NamedTuple):
    """What one generation gave in this process, one entry a response."""

    step: int
    weights_version: int
    advantages: list[float]
    group_types: list[str]


class Sampled(NamedTuple):
    """One or several generations. Shape suffixes: R responses of all processes, F reward functions.

    Attributes:
        responses: of this process, generation by generation.
        rewards_RF: NaN where a reward does not judge; generation by generation, in each the processes in order.
        kl_R: nats, to be taken off the reward; 0 where the KL is a term of the loss.
    """

    responses: list[Response]
    rewards_RF: Tensor
    kl_R: Tensor

    def and_more(self, more: "Sampled") -> "Sampled":
        """Both, one after the other."""
        return Sampled(
            self.responses + more.responses,
            torch.cat([self.rewards_RF, more.rewards_RF]),
            torch.cat([self.kl_R, more.kl_R]),
        )


def has_signal(result: AgapoAdvantages) -> Tensor:
    """Groups [N] with an advantage that is not zero."""
    return (result.advantages_NG != 0).any(dim=1)


def without_surplus(sampled: Sampled, result: AgapoAdvantages, num_groups: int) -> Sampled:
    """The same, where groups beyond the first `num_groups` that carry signal have become unscorable."""
    carries_N = has_signal(result)
    is_surplus_N = carries_N & (carries_N.cumsum(dim=0) > num_groups)
    is_surplus_R = is_surplus_N.repeat_interleave(result.advantages_NG.shape[1])
    return sampled._replace(rewards_RF=sampled.rewards_RF.masked_fill(is_surplus_R[:, None], torch.nan))
