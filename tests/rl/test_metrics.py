"""The figures of rollouts and updates, and what is decided by them, worked out by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from posttrain.environment import prepare_environment

prepare_environment()

from posttrain.objectives import AgapoAdvantages, agapo_advantages  # noqa: E402  (after the environment)
from posttrain.rl.checkpoints import SaveBetweenRollouts  # noqa: E402
from posttrain.rl.metrics import UpdateSums, group_figures, token_figures  # noqa: E402
from posttrain.rl.responses import MicroBatch, Response  # noqa: E402
from posttrain.rl.sampled import Sampled, has_signal, without_surplus  # noqa: E402

NAN = math.nan


def test_figures_of_groups_are_shares_of_groups_and_of_samples() -> None:
    outcomes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, NAN]])
    result = agapo_advantages(
        outcomes, outcomes >= 0.5, ~outcomes.isnan(), all_wrong="penalize", all_wrong_penalty=0.25, all_correct="drop"
    )
    assert group_figures(result, outcomes.flatten()) == {
        "groups/all_wrong": 0.25,
        "groups/mixed": 0.25,
        "groups/all_correct": 0.25,
        "groups/unscorable": 0.25,
        "advantage/all_wrong_mean": -0.25,
        "advantage/mixed_mean": 0.0,
        "advantage/all_correct_mean": 0.0,
        "advantage/unscorable_mean": 0.0,
        "advantage/std": 1.0,
        "outcome": pytest.approx(4 / 7),
        "samples/live": 0.5,
        "samples/unscorable": 0.125,
    }


def test_groups_that_are_not_there_have_no_mean() -> None:
    outcomes = torch.tensor([[1.0, 0.0]])
    result = agapo_advantages(
        outcomes, outcomes >= 0.5, outcomes >= 0, all_wrong="drop", all_wrong_penalty=0.1, all_correct="drop"
    )
    assert [name for name in group_figures(result, outcomes[0]) if name.endswith("_mean")] == ["advantage/mixed_mean"]


def test_tokens_are_those_that_bear_loss_trained_where_the_response_is_live() -> None:
    ids = torch.tensor([1, 2, 3])
    live = Response(ids, ids, torch.tensor([True, False, True]))
    dropped = Response(ids, ids, torch.tensor([True, True, True]), is_live=False)
    figures = token_figures([live, dropped], sum_over_ranks=lambda count: 2 * count)
    assert figures == {"tokens/trained": 4, "tokens/spared": 6}


def micro_batch(mask: list[list[int]], is_live: list[bool], sampling_logps: list[list[float]] | None) -> MicroBatch:
    nothing = torch.zeros(0)
    return MicroBatch(
        input_ids=nothing,
        predicts_BL=nothing,
        targets_N=nothing,
        mask_BT=torch.tensor(mask, dtype=torch.bool),
        sampling_logps_BT=None if sampling_logps is None else torch.tensor(sampling_logps),
        ref_logps_BT=None,
        advantages_B=nothing,
        is_live_B=torch.tensor(is_live),
    )


def add_first(sums: UpdateSums) -> None:
    """Three live tokens, of one of which the engine gave no log-probability; 9 where nobody may look."""
    sums.add(
        micro_batch([[1, 1], [1, 0]], [True, True], [[-1.0, -2.5], [NAN, 9.0]]),
        torch.tensor([[-1.0, -2.0], [-3.0, 9.0]]),
        torch.tensor([[0.5, 1.5], [1.0, 9.0]]),
        torch.tensor([0.3, 0.1]),
        torch.tensor([[1.0, 1.5], [1.0, 9.0]]),
    )


def add_second(sums: UpdateSums) -> None:
    """Two live tokens, and a response that is not live."""
    sums.add(
        micro_batch([[1, 1], [1, 1]], [False, True], [[9.0, 9.0], [-1.0, -1.0]]),
        torch.tensor([[-9.0, -9.0], [-1.0, -1.0]]),
        torch.tensor([[9.0, 9.0], [2.0, 3.0]]),
        torch.tensor([0.0, 0.2]),
        torch.tensor([[9.0, 9.0], [0.5, 2.0]]),
    )


def two_alike(row: Tensor) -> Tensor:
    return torch.cat([row, row])


def test_figures_of_an_update_are_means_over_live_tokens_and_responses_of_all_processes() -> None:
    sums = UpdateSums()
    add_first(sums)
    add_second(sums)
    assert sums.pop(two_alike)._asdict() == pytest.approx(
        {
            "tokens": 10,
            "responses": 6,
            "entropy": (0.5 + 1.5 + 1.0 + 2.0 + 3.0) / 5,
            "kl": (0.3 + 0.1 + 0.2) / 3,
            "scored_tokens": 8,
            "mismatch_kl": (math.exp(0.5) - 0.5 - 1) / 4,  # k3 of the policy that sampled to the trainer's
            "weight_mean": 6.0 / 5,
            "weight_max": 2.0,
            "ess": 6.0**2 / (5 * 8.5),
        }
    )


def test_an_update_has_nothing_of_the_one_before() -> None:
    sums = UpdateSums()
    add_second(sums)
    sums.pop(two_alike)
    add_first(sums)
    figures = sums.pop(lambda row: row)
    assert (figures.tokens, figures.weight_max) == (3, 1.5)


def test_without_the_sampling_policy_weights_are_1_and_nothing_is_compared() -> None:
    sums = UpdateSums()
    zeros = torch.zeros(1, 2)
    sums.add(micro_batch([[1, 1]], [True], None), zeros, zeros, torch.zeros(1), None)
    figures = sums.pop(lambda row: row)
    assert (figures.scored_tokens, figures.mismatch_kl) == (0, 0)
    assert (figures.weight_mean, figures.weight_max, figures.ess) == (1, 1, 1)


def test_groups_with_signal_beyond_a_full_batch_are_left_out() -> None:
    advantages = torch.tensor([[0.5, -0.5], [0.0, 0.0], [-0.1, -0.1], [0.2, -0.2], [0.0, 0.0]])
    nothing = torch.zeros(())
    result = AgapoAdvantages(advantages, advantages != 9, torch.zeros(5, dtype=torch.long), nothing, nothing)
    assert has_signal(result).tolist() == [True, False, True, True, False]
    sampled = Sampled([], torch.ones(10, 2), torch.zeros(10))
    kept = without_surplus(sampled, result, num_groups=2).rewards_RF
    assert kept.isnan().all(dim=1).tolist() == [False] * 6 + [True] * 2 + [False] * 2
    assert not without_surplus(sampled, result, num_groups=3).rewards_RF.isnan().any()


@pytest.mark.parametrize(
    ("steps_per_batch", "due", "saved"),
    [
        (1, {2, 3}, [2, 3]),
        (2, {3}, [4]),
        (4, {3, 4}, [4]),
        (4, {5, 6}, [7]),  # the last step of the run
    ],
)
def test_a_checkpoint_that_is_due_waits_for_the_end_of_its_rollouts(
    steps_per_batch: int, due: set[int], saved: list[int]
) -> None:
    callback, found = SaveBetweenRollouts(SimpleNamespace(steps_per_batch=steps_per_batch)), []
    for step in range(1, 8):
        control: Any = SimpleNamespace(should_save=step in due)
        callback.on_step_end(None, SimpleNamespace(global_step=step, max_steps=7), control)
        found += [step] if control.should_save else []
    assert found == saved
