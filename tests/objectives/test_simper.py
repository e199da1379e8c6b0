import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.objectives import mean_log_prob, simper_loss

rows = st.lists(st.lists(st.floats(-15, 0), min_size=1, max_size=6), min_size=1, max_size=4)


def padded(rows, width, value):
    return torch.tensor([row + [value] * (width - len(row)) for row in rows], dtype=torch.float64)


def mask_of(rows, width):
    return torch.tensor([[t < len(row) for t in range(width)] for row in rows])


def test_loss_by_hand():
    chosen, rejected = torch.tensor([0.5, 0.2]).log(), torch.tensor([0.1, 0.8]).log()
    result = simper_loss(chosen, rejected)
    torch.testing.assert_close(result.loss_B, torch.tensor([-0.4, 0.6]))
    torch.testing.assert_close(result.chosen_prob_B, torch.tensor([0.5, 0.2]))
    torch.testing.assert_close(result.rejected_prob_B, torch.tensor([0.1, 0.8]))


def test_descent_raises_the_chosen_and_lowers_the_rejected_response():
    chosen = torch.tensor([-1.0, -8.0], requires_grad=True)
    rejected = torch.tensor([-2.0, -0.1], requires_grad=True)
    simper_loss(chosen, rejected).loss_B.sum().backward()
    assert (chosen.grad < 0).all()
    assert (rejected.grad > 0).all()
    torch.testing.assert_close(chosen.grad, -chosen.detach().exp())  # each gradient weighs as its own probability


@settings(deadline=None)
@given(rows, rows)
def test_loss_matches_the_loop(chosen_rows, rejected_rows):
    chosen_rows, rejected_rows = zip(*zip(chosen_rows, rejected_rows, strict=False), strict=True)
    losses = [
        -math.exp(sum(chosen) / len(chosen)) + math.exp(sum(rejected) / len(rejected))
        for chosen, rejected in zip(chosen_rows, rejected_rows, strict=True)
    ]
    means = [mean_log_prob(padded(side, 6, 0.0), mask_of(side, 6)) for side in (chosen_rows, rejected_rows)]
    torch.testing.assert_close(simper_loss(*means).loss_B, torch.tensor(losses, dtype=torch.float64))


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
