"""The AGAPO loss: plain policy gradient without a clip, plus cumulative KL (EXAONE 4.0 report, 2.4.2).

Shape suffixes: B sequences, T tokens.
"""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from posttrain.objectives.kl import kl_k2, kl_k3, sequence_kl

KlEstimator = Literal["k3", "k2"]
LengthTreatment = Literal["constant", "per_response_mean"]
ImportanceLevel = Literal["token", "sequence"]

_KL_ESTIMATORS = {"k2": kl_k2, "k3": kl_k3}


class AgapoLoss(NamedTuple):
    """Loss of one micro-batch; everything but `kl_B` adds up over the micro-batches and ranks of an optimizer step.

    Attributes:
        loss: To be differentiated; equals `policy_loss + kl_loss`.
        policy_loss: Its policy part, detached.
        kl_loss: Its KL part, `beta` and divisors included, detached.
        kl_B: KL to the reference in nats, summed over the tokens of each sequence, detached; 0 for sequences that are
            not live, and for all without a reference.
    """

    loss: Float[Tensor, ""]
    policy_loss: Float[Tensor, ""]
    kl_loss: Float[Tensor, ""]
    kl_B: Float[Tensor, " B"]


def truncated_importance_weights(
    logps_BT: Float[Tensor, "B T"],
    sampling_logps_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    cap: float,
    level: ImportanceLevel,
) -> Float[Tensor, "B T"]:
    """Weights `min(pi_trainer / pi_engine, cap)` that mend the mismatch between rollout engine and trainer.

    The weights are constants for the gradient: they bound how much a sample counts, and unlike a clip never remove it.

    Args:
        logps_BT: Log-probabilities by the trainer's policy.
        sampling_logps_BT: Log-probabilities as the engine sampled them; NaN where it gave none, which counts as a ratio
            of 1.
        mask_BT: Tokens of the response.
        cap: Largest weight, at least 1.
        level: `token`: a ratio per token; `sequence`: one ratio per response, the product of its tokens' ratios, for
            all T.

    Returns:
        Detached weights; 1 where the mask is off.

    Raises:
        ValueError: The cap is below 1, or the level is unknown.
    """
    if not cap >= 1:
        raise ValueError(f"cap is {cap}: give 1 or more, as on-policy samples have weight 1")
    _check_choice("level", level, ImportanceLevel)
    is_scored_BT = mask_BT & ~sampling_logps_BT.isnan()
    log_ratios_BT = torch.where(is_scored_BT, logps_BT.detach() - sampling_logps_BT.detach(), 0.0)
    if level == "sequence":
        log_ratios_BT = log_ratios_BT.sum(dim=1, keepdim=True).expand_as(log_ratios_BT)
    return torch.where(mask_BT, log_ratios_BT.exp().clamp(max=cap), 1.0)


def agapo_loss(
    logps_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    advantages_B: Float[Tensor, " B"],
    is_live_B: Bool[Tensor, " B"],
    *,
    num_live_sequences: float | Tensor,
    length_divisor: float,
    weights_BT: Float[Tensor, "B T"] | None = None,
    ref_logps_BT: Float[Tensor, "B T"] | None = None,
    beta: float = 0.0,
    kl_estimator: KlEstimator = "k3",
    length_treatment: LengthTreatment = "constant",
) -> AgapoLoss:
    """Sum over live sequences of `-A_i * sum_t w_t * logp_t + beta * KL_i`, over their number and a length divisor.

    There is no clip: with weights of 1 the gradient of the policy term is exactly `-A_i * grad logp` for every token,
    however rare the token is. KL_i is a term of the loss, differentiated through the per-token estimator, and not a
    part of the reward: both estimators pull each token's logp back towards that of the reference.

    The loss is a sum over a count that the caller states for the whole optimizer step. So the losses of micro-batches,
    of accumulation steps and of ranks add up to that of the whole batch, however it is cut. Where a framework averages
    over any of these, the caller multiplies it out.

    Sequences that are not live, and tokens off the mask, may hold anything, NaN too: they reach neither value nor
    gradient. A micro-batch without a live sequence gives 0 and can be differentiated.

    Args:
        logps_BT: Log-probabilities of the sampled tokens, with gradient.
        mask_BT: Tokens of the response to train on.
        advantages_B: Advantages, without gradient.
        is_live_B: Sequences that take part.
        num_live_sequences: Live sequences in the whole optimizer step, over all micro-batches and ranks; 0 only when
            there is none at all.
        length_divisor: Tokens to divide by under `constant`, the largest completion length for instance. It only
            rescales the step, and `beta` keeps its weight against the advantage. Not used under `per_response_mean`.
        weights_BT: Importance weights of the policy term; None: 1.
        ref_logps_BT: Log-probabilities by the reference model; None: no KL.
        beta: Weight of the KL term. With 0 and a reference the KL is measured only.
        kl_estimator: Per-token estimator, see `posttrain.objectives.kl`.
        length_treatment: `constant`: the recipe's sum over tokens. `per_response_mean`: both terms of a sequence are
            divided by its own number of tokens, which is another objective: long responses weigh less per token.

    Raises:
        ValueError: An option is unknown, the length divisor is not positive, or `beta` needs a reference.
    """
    _check_choice("kl_estimator", kl_estimator, KlEstimator)
    _check_choice("length_treatment", length_treatment, LengthTreatment)
    if not length_divisor > 0:
        raise ValueError(f"length_divisor is {length_divisor}: give a number of tokens above 0")
    if beta != 0 and ref_logps_BT is None:
        raise ValueError(f"beta is {beta} but ref_logps_BT is None: give reference log-probabilities, or beta=0")

    # What is not used is replaced, never multiplied by a mask: NaN times zero is NaN, in the gradient too.
    is_used_BT = mask_BT & is_live_B[:, None]
    clean_logps_BT = torch.where(is_used_BT, logps_BT, 0.0)
    weighted_BT = clean_logps_BT if weights_BT is None else torch.where(is_used_BT, weights_BT, 0.0) * clean_logps_BT
    policy_B = -torch.where(is_live_B, advantages_B, 0.0) * weighted_BT.sum(dim=1)
    kl_B = torch.zeros_like(policy_B)
    if ref_logps_BT is not None:
        kl_B = sequence_kl(_KL_ESTIMATORS[kl_estimator](clean_logps_BT, ref_logps_BT), is_used_BT)

    lengths_B = torch.full_like(policy_B, length_divisor)
    if length_treatment == "per_response_mean":
        lengths_B = is_used_BT.sum(dim=1).clamp(min=1)
    num_live = torch.as_tensor(num_live_sequences, dtype=policy_B.dtype, device=policy_B.device)
    divisor_B = lengths_B * torch.where(num_live > 0, num_live, 1.0)

    loss = policy_loss = (policy_B / divisor_B).sum()
    kl_loss = torch.zeros_like(policy_loss)
    if beta != 0:
        kl_loss = (beta * kl_B / divisor_B).sum()
        loss = policy_loss + kl_loss
    return AgapoLoss(loss, policy_loss.detach(), kl_loss.detach(), kl_B.detach())


def _check_choice(name: str, value: str, choices: object) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} is {value!r}: choose one of {', '.join(get_args(choices))}")
