import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.objectives import group_weights, mean_log_prob, simper_loss

rows = st.lists(st.lists(st.floats(-15, 0), min_size=1, max_size=6), min_size=1, max_size=4)
reward = st.floats(-3, 3).map(lambda value: round(value, 2))
groups = st.lists(st.tuples(st.lists(st.floats(-15, 0), min_size=1, max_size=6), reward), min_size=2, max_size=5)

PAIR = torch.tensor([[1.0, -1.0]])


def padded(rows, width, value):
    return torch.tensor([row + [value] * (width - len(row)) for row in rows], dtype=torch.float64)


def mask_of(rows, width):
    return torch.tensor([[t < len(row) for t in range(width)] for row in rows])


def all_of(values):
    return torch.ones_like(values, dtype=torch.bool)


def weights_of(*rewards):
    return group_weights(torch.tensor([rewards]), all_of(torch.tensor([rewards])))[0].tolist()


def test_loss_of_pairs_by_hand():
    mean_logps = torch.tensor([[0.5, 0.1], [0.2, 0.8]]).log()
    result = simper_loss(mean_logps, PAIR.expand(2, 2), all_of(mean_logps))
    torch.testing.assert_close(result.loss_N, torch.tensor([-0.5 + 0.1, -0.2 + 0.8]))
    torch.testing.assert_close(result.probs_NG, torch.tensor([[0.5, 0.1], [0.2, 0.8]]))


def test_descent_raises_the_chosen_and_lowers_the_rejected_response():
    mean_logps = torch.tensor([[-1.0, -2.0], [-8.0, -0.1]], requires_grad=True)
    simper_loss(mean_logps, PAIR.expand(2, 2), all_of(mean_logps)).loss_N.sum().backward()
    chosen, rejected = mean_logps.grad.T
    assert (chosen < 0).all()
    assert (rejected > 0).all()
    torch.testing.assert_close(chosen, -mean_logps[:, 0].detach().exp())  # each gradient weighs as its own probability


@settings(deadline=None)
@given(rows, rows)
def test_loss_of_pairs_matches_the_loop(chosen_rows, rejected_rows):
    chosen_rows, rejected_rows = zip(*zip(chosen_rows, rejected_rows, strict=False), strict=True)
    losses = [
        -math.exp(sum(chosen) / len(chosen)) + math.exp(sum(rejected) / len(rejected))
        for chosen, rejected in zip(chosen_rows, rejected_rows, strict=True)
    ]
    means = [mean_log_prob(padded(side, 6, 0.0), mask_of(side, 6)) for side in (chosen_rows, rejected_rows)]
    mean_logps = torch.stack(means, dim=1)
    result = simper_loss(mean_logps, PAIR.double().expand_as(mean_logps), all_of(mean_logps))
    torch.testing.assert_close(result.loss_N, torch.tensor(losses, dtype=torch.float64))


def test_weights_by_hand():
    # mean 0.5; the outermost is 0.5 away
    assert weights_of(1.0, 0.5, 0.25, 0.25) == pytest.approx([1.0, 0.0, -0.5, -0.5])
    # one wrong of four: mean 0.75, it is 0.75 away and the right ones 0.25
    assert weights_of(1.0, 1.0, 1.0, 0.0) == pytest.approx([1 / 3, 1 / 3, 1 / 3, -1.0])


def test_a_group_of_two_is_a_pair_whatever_its_rewards():
    assert weights_of(0.7, 0.6) == pytest.approx([1.0, -1.0])


@pytest.mark.parametrize("rewards", [(0.1, 0.1, 0.1), (0.1 + 0.2, 0.3, 0.3), (5.0,)])
def test_equal_rewards_weigh_nothing_even_when_rounding_differs(rewards):
    assert weights_of(*rewards) == [0.0] * len(rewards)


def test_rewards_that_differ_by_less_than_the_floor_weigh_nothing():
    assert weights_of(0.5, 0.50001, 0.49999) == [0.0, 0.0, 0.0]
    assert weights_of(0.5, 0.501, 0.499) == pytest.approx([0.0, 1.0, -1.0], abs=1e-4)


@given(st.lists(reward, min_size=2, max_size=6), st.floats(-5, 5), st.floats(0.5, 3))
def test_weights_sum_to_zero_and_do_not_depend_on_the_scale_of_the_rewards(rewards, shift, factor):
    weights = torch.tensor(weights_of(*rewards))
    assert weights.sum().item() == pytest.approx(0, abs=1e-5)
    assert weights.abs().max() <= 1
    moved = torch.tensor(weights_of(*(shift + factor * value for value in rewards)))
    torch.testing.assert_close(moved, weights, rtol=1e-4, atol=1e-4)


def test_unscorable_samples_weigh_nothing_and_change_no_other_weight():
    rewards = torch.tensor([[1.0, math.nan, 0.5, 0.0], [2.0, 2.0, 2.0, 2.0]])
    scorable = torch.tensor([[True, False, True, True], [False] * 4])
    weights = group_weights(rewards, scorable)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.0, 0.0, -1.0], [0.0] * 4]))


def test_a_scorable_reward_that_is_no_number_is_named():
    with pytest.raises(ValueError, match="reward of sample 1 in group 0 is nan"):
        group_weights(torch.tensor([[1.0, math.nan]]), torch.ones(1, 2, dtype=torch.bool))


def test_loss_of_a_group_by_hand():
    mean_logps = torch.tensor([[0.8, 0.5, 0.4, 0.1]]).log()
    weights = torch.tensor([[1.0, 0.0, -0.5, -0.5]])
    loss = simper_loss(mean_logps, weights, all_of(weights)).loss_N
    torch.testing.assert_close(loss, torch.tensor([-2 / 4 * (0.8 - 0.5 * 0.4 - 0.5 * 0.1)]))


@settings(deadline=None)
@given(st.lists(groups, min_size=1, max_size=3))
def test_loss_of_groups_of_any_size_matches_the_loop(some):
    losses = []
    for group in some:
        rewards = [reward for _, reward in group]
        mean = sum(rewards) / len(rewards)
        std = math.sqrt(sum((value - mean) ** 2 for value in rewards) / len(rewards))
        scores = [(value - mean) / std if std > 1e-4 else 0.0 for value in rewards]
        largest = max(map(abs, scores)) or 1.0
        probs = [math.exp(sum(logps) / len(logps)) for logps, _ in group]
        losses.append(-2 / len(group) * sum(z / largest * p for z, p in zip(scores, probs, strict=True)))
    lengths = [len(group) for group in some]
    is_response = torch.tensor([[i < length for i in range(5)] for length in lengths])
    logps = [[sum(logps) / len(logps) for logps, _ in group] for group in some]
    weights = group_weights(padded([[reward for _, reward in group] for group in some], 5, 0.0), is_response)
    loss = simper_loss(padded(logps, 5, math.nan), weights, is_response).loss_N
    torch.testing.assert_close(loss, torch.tensor(losses, dtype=torch.float64), rtol=1e-6, atol=1e-9)


def test_a_place_without_a_response_changes_neither_loss_nor_gradient():
    mean_logps = torch.tensor([[-1.0, -2.0, math.nan]], requires_grad=True)
    weights, is_response = torch.tensor([[1.0, -1.0, 0.0]]), torch.tensor([[True, True, False]])
    result = simper_loss(mean_logps, weights, is_response)
    result.loss_N.sum().backward()
    assert result.loss_N.item() == pytest.approx(math.exp(-2) - math.exp(-1))
    assert mean_logps.grad[0].tolist() == pytest.approx([-math.exp(-1), math.exp(-2), 0.0])
    assert result.probs_NG[0, 2] == 0
    assert not result.probs_NG.requires_grad


@settings(deadline=None)
@given(rows, st.integers(6, 9), st.sampled_from([0.0, -7.0, float("nan"), -math.inf]))
def test_padding_of_any_content_changes_neither_mean_nor_gradient(rows, width, content):
    plain = padded(rows, 6, 0.0).requires_grad_()
    filled = padded(rows, width, content).requires_grad_()
    expected, actual = mean_log_prob(plain, mask_of(rows, 6)), mean_log_prob(filled, mask_of(rows, width))
    torch.testing.assert_close(actual, expected)
    expected.sum().backward()
    actual.sum().backward()
    torch.testing.assert_close(filled.grad[:, :6], plain.grad)
    assert filled.grad[:, 6:].eq(0).all()


def test_repeating_a_response_does_not_change_its_mean():
    short = mean_log_prob(torch.tensor([[-1.0, -3.0]]), torch.ones(1, 2, dtype=torch.bool))
    long = mean_log_prob(torch.tensor([[-1.0, -3.0, -1.0, -3.0]]), torch.ones(1, 4, dtype=torch.bool))
    assert short.tolist() == long.tolist() == [-2.0]


def test_a_row_without_trained_tokens_is_named():
    mask = torch.tensor([[True, True], [False, True], [False, False]])
    with pytest.raises(ValueError, match="row 2 has no trained token"):
        mean_log_prob(torch.zeros(3, 2), mask)
