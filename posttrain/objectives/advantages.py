"""Group-and-global advantages of AGAPO (EXAONE 4.0 report, 2.4.2).

Shape suffixes: N groups (one group = one prompt), G samples per group.
"""

from enum import IntEnum
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

AllWrong = Literal["penalize", "literal", "drop"]
AllCorrect = Literal["drop", "keep"]


class GroupType(IntEnum):
    """What the binary outcomes of a group look like; `GroupType(i).name.lower()` is the name used in logs."""

    ALL_WRONG = 0
    MIXED = 1
    ALL_CORRECT = 2
    UNSCORABLE = 3


class AgapoAdvantages(NamedTuple):
    """Advantages of a whole batch, with what is needed to leave samples out and to log.

    Attributes:
        advantages_NG: Normalised advantages, 0 where a sample is not live.
        is_live_NG: Whether a sample takes part in the step. A sample that is not live must get no policy term, no KL
            term and no share in any denominator. Live is not the same as "advantage is not 0": an all-wrong group under
            `literal` has advantage 0 and is live, so its KL term acts and it counts in the denominator.
        types_N: `GroupType` of each group.
        mean: Mean of the leave-one-out advantages that take part. Always 0 up to rounding.
        std: Population standard deviation of the same, before the floor; 0 when nothing takes part.
    """

    advantages_NG: Float[Tensor, "N G"]
    is_live_NG: Bool[Tensor, "N G"]
    types_N: Int[Tensor, " N"]
    mean: Float[Tensor, ""]
    std: Float[Tensor, ""]


def group_types(outcomes_NG: Bool[Tensor, "N G"], scorable_NG: Bool[Tensor, "N G"]) -> Int[Tensor, " N"]:
    """Type each group from its binary outcomes, never from its rewards.

    A length or format bonus thus cannot turn an all-wrong group into a mixed one. Unscorable samples are ignored; a
    group with fewer than two scorable samples has no baseline and is `UNSCORABLE`.

    Args:
        outcomes_NG: Is the sample correct? Any value where the sample is unscorable.
        scorable_NG: Could the sample be judged at all?

    Returns:
        A `GroupType` value per group.
    """
    num_scorable_N = scorable_NG.sum(dim=1)
    num_correct_N = (outcomes_NG & scorable_NG).sum(dim=1)
    types_N = torch.full_like(num_scorable_N, GroupType.MIXED)
    types_N[num_correct_N == 0] = GroupType.ALL_WRONG
    types_N[num_correct_N == num_scorable_N] = GroupType.ALL_CORRECT
    types_N[num_scorable_N < 2] = GroupType.UNSCORABLE
    return types_N


def leave_one_out(rewards_NG: Float[Tensor, "N G"], scorable_NG: Bool[Tensor, "N G"]) -> Float[Tensor, "N G"]:
    """Reward minus the mean reward of the sample's scorable peers in its group.

    The values of a group sum to zero, and are *exactly* zero when its rewards are equal.

    Args:
        rewards_NG: Rewards; any value, NaN too, where the sample is unscorable.
        scorable_NG: Samples to use.

    Returns:
        Advantages in the dtype and on the device of the rewards; 0 for unscorable samples and for samples without
        peers.

    Raises:
        ValueError: A scorable sample has a reward that is not finite.
    """
    # On the CPU in float64: a few hundred numbers, and not every accelerator has float64.
    rewards, scorable = rewards_NG.cpu().double(), scorable_NG.cpu()
    is_broken = scorable & ~rewards.isfinite()
    if is_broken.any():
        group, sample = is_broken.nonzero()[0].tolist()
        raise ValueError(
            f"the reward of sample {sample} in group {group} is {rewards[group, sample].item()}: "
            "give a finite reward, or mark the sample as unscorable"
        )
    # A shift of a group's rewards changes nothing in theory; by the group's minimum, equal rewards become exact zeros.
    lowest = rewards.masked_fill(~scorable, torch.inf).amin(dim=1, keepdim=True)
    shifted = torch.where(scorable, rewards - lowest, 0.0)
    num_peers = (scorable.sum(dim=1, keepdim=True) - 1).clamp(min=1)
    peer_mean = (shifted.sum(dim=1, keepdim=True) - shifted) / num_peers
    return torch.where(scorable, shifted - peer_mean, 0.0).to(rewards_NG)


def agapo_advantages(
    rewards_NG: Float[Tensor, "N G"],
    outcomes_NG: Bool[Tensor, "N G"],
    scorable_NG: Bool[Tensor, "N G"],
    *,
    all_wrong: AllWrong,
    all_wrong_penalty: float,
    all_correct: AllCorrect,
    std_floor: float = 1e-4,
) -> AgapoAdvantages:
    """Leave-one-out within the group, then normalised over the batch.

        A_i = (A_loo,i - mean_k A_loo,k) / max(std_k A_loo,k, std_floor)

    Call it on the batch gathered from all ranks and slice the result: the statistics are those of the optimizer step.

    Which samples k the mean and the (population) standard deviation run over:

    - Unscorable samples, unscorable groups and dropped groups take part in nothing, and are not live.
    - Mixed groups always take part, all-correct groups if they are kept.
    - All-wrong groups depend on `all_wrong`. With equal rewards their leave-one-out advantages are zero, and so is the
      batch mean, as the advantages of every group sum to zero: the printed equations give such a group no push at all,
      while the text of 2.4.2 wants a small negative one.
        - `literal`: the printed equations. The group takes part (its zeros lower the standard deviation) and gets
          exactly 0 for equal rewards; rewards that are shaped within the group (a length bonus) do push.
        - `penalize`: every scorable sample gets exactly `-all_wrong_penalty`. The group stays out of the statistics, so
          that the penalty has a stated size and does not rescale the other groups. Its rewards have no effect.
        - `drop`: not live.

    Args:
        rewards_NG: Shaped rewards; any value where the sample is unscorable.
        outcomes_NG: Binary outcomes, which type the groups.
        scorable_NG: Samples with a verdict.
        all_wrong: What happens to all-wrong groups.
        all_wrong_penalty: Size of the push under `penalize`, in units of the normalised advantage, not negative.
        all_correct: What happens to all-correct groups; 2.4.2 drops them.
        std_floor: Least divisor. Rewards in [0, 1] that differ in substance give a standard deviation far above the
            default, rewards that differ by float32 rounding (1e-7) one far below it: they stay small instead of being
            blown up.

    Raises:
        ValueError: An option is unknown, the penalty is negative, the floor is not positive, or a scorable reward is
            not finite.
    """
    _check_options(all_wrong, all_wrong_penalty, all_correct, std_floor)
    scorable = scorable_NG.cpu()
    types_N = group_types(outcomes_NG.cpu(), scorable)
    is_all_wrong = (types_N == GroupType.ALL_WRONG)[:, None] & scorable
    is_all_correct = (types_N == GroupType.ALL_CORRECT)[:, None] & scorable
    is_live = (types_N != GroupType.UNSCORABLE)[:, None] & scorable
    if all_wrong == "drop":
        is_live &= ~is_all_wrong
    if all_correct == "drop":
        is_live &= ~is_all_correct
    is_normalised = is_live & ~is_all_wrong if all_wrong == "penalize" else is_live

    loo = leave_one_out(rewards_NG.cpu().double(), scorable)
    normalised = loo[is_normalised]
    num_normalised = max(normalised.numel(), 1)
    mean = normalised.sum() / num_normalised
    # The mean is zero in theory, as every group sums to zero. Subtracting its rounding error would spoil exact zeros.
    std = (normalised.square().sum() / num_normalised).sqrt()
    advantages = torch.where(is_normalised, loo / std.clamp(min=std_floor), 0.0)
    if all_wrong == "penalize":
        advantages = advantages.masked_fill(is_all_wrong, -all_wrong_penalty)

    device = rewards_NG.device
    return AgapoAdvantages(
        advantages.to(rewards_NG), is_live.to(device), types_N.to(device), mean.to(rewards_NG), std.to(rewards_NG)
    )


def _check_options(all_wrong: str, all_wrong_penalty: float, all_correct: str, std_floor: float) -> None:
    if all_wrong not in get_args(AllWrong):
        raise ValueError(f"all_wrong is {all_wrong!r}: choose one of {', '.join(get_args(AllWrong))}")
    if all_correct not in get_args(AllCorrect):
        raise ValueError(f"all_correct is {all_correct!r}: choose one of {', '.join(get_args(AllCorrect))}")
    if not all_wrong_penalty >= 0:
        raise ValueError(
            f"all_wrong_penalty is {all_wrong_penalty}: give the size of the push, 0 or more; its sign is set here"
        )
    if not std_floor > 0:
        raise ValueError(f"std_floor is {std_floor}: give a number above 0")
