"""Estimates of KL(policy || reference) from sampled tokens (EXAONE 4.0 report, 2.4.2).

Shape suffixes: B sequences, T tokens.

All three have the KL as their mean over tokens drawn from the policy (`kl_k2` to leading order near the reference). As
a loss their mean gradients differ: `kl_k2` has that of KL(policy || reference), `kl_k3` that of KL(reference ||
policy), and `kl_k1` none at all, so it is for logs only.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def kl_k1(logps_BT: Float[Tensor, "B T"], ref_logps_BT: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Log-ratio `logp - ref_logp` of the sampled token: unbiased, of either sign."""
    return logps_BT - ref_logps_BT


def kl_k2(logps_BT: Float[Tensor, "B T"], ref_logps_BT: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Half the squared log-ratio: slightly biased, never negative."""
    return 0.5 * (logps_BT - ref_logps_BT).square()


def kl_k3(logps_BT: Float[Tensor, "B T"], ref_logps_BT: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """`exp(d) - d - 1` with `d = ref_logp - logp`: unbiased, never negative."""
    log_ratio_BT = ref_logps_BT - logps_BT
    # expm1 keeps the digits that exp(d) - 1 loses near the reference, where every run starts.
    return torch.expm1(log_ratio_BT) - log_ratio_BT


def sequence_kl(per_token_BT: Float[Tensor, "B T"], mask_BT: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Cumulative KL of each response: the *sum* over its tokens, not the mean.

    Args:
        per_token_BT: One of the estimators above, in nats; any value where the mask is off.
        mask_BT: Tokens of the response.

    Returns:
        Nats per sequence.
    """
    return torch.where(mask_BT, per_token_BT, 0.0).sum(dim=1)
