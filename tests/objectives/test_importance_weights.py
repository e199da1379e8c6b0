import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.objectives import truncated_importance_weights

NAN = float("nan")


def mask_of(lengths, width=None):
    return torch.arange(max(width or max(lengths), 1)) < torch.tensor(lengths)[:, None]


def random_logps(seed, lengths):
    """Log-probabilities by trainer and engine that differ by some nats, and their mask."""
    draw, mask = torch.Generator().manual_seed(seed), mask_of(lengths)
    trainer, engine = (-2 * torch.rand(2, *mask.shape, generator=draw, dtype=torch.float64)).unbind()
    return trainer, engine, mask


def test_token_weights_by_hand():
    logps = torch.tensor([[2.0, 0.5, 6.0, 1.0]]).log()
    weights = truncated_importance_weights(logps, torch.zeros(1, 4), mask_of([3], 4), cap=3.0, level="token")
    torch.testing.assert_close(weights, torch.tensor([[2.0, 0.5, 3.0, 1.0]]))


def test_sequence_weights_by_hand():
    logps = torch.tensor([[2.0, 0.25, 9.0], [2.0, 2.0, 9.0]]).log()
    weights = truncated_importance_weights(logps, torch.zeros(2, 3), mask_of([2, 2], 3), cap=3.0, level="sequence")
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5, 1.0], [3.0, 3.0, 1.0]]))


@settings(deadline=None)
@given(
    st.integers(0, 2**31),
    st.lists(st.integers(0, 6), min_size=1, max_size=6),
    st.floats(1, 4),
    st.sampled_from(["token", "sequence"]),
)
def test_weights_match_the_loop_and_respect_the_cap(seed, lengths, cap, level):
    logps, sampling, mask = random_logps(seed, lengths)
    weights = truncated_importance_weights(logps, sampling, mask, cap=cap, level=level)
    for i, length in enumerate(lengths):
        differences = [(logps[i, t] - sampling[i, t]).item() for t in range(length)]
        for t in range(length):
            log_ratio = sum(differences) if level == "sequence" else differences[t]
            assert weights[i, t].item() == pytest.approx(min(math.exp(log_ratio), cap))
    assert weights.max() <= cap


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_on_policy_weights_are_all_one(level):
    logps, _, mask = random_logps(4, [3, 5, 1])
    weights = truncated_importance_weights(logps, logps.clone(), mask, cap=2.0, level=level)
    assert weights.eq(1).all()


def test_a_token_the_engine_could_not_score_counts_as_on_policy():
    logps, sampling = torch.tensor([[-1.0, -1.0]]), torch.tensor([[NAN, -1.0 - math.log(2)]])
    token = truncated_importance_weights(logps, sampling, mask_of([2]), cap=3.0, level="token")
    sequence = truncated_importance_weights(logps, sampling, mask_of([2]), cap=3.0, level="sequence")
    torch.testing.assert_close(token, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(sequence, torch.tensor([[2.0, 2.0]]))


def test_a_ratio_too_large_for_a_float_is_the_cap():
    weights = truncated_importance_weights(
        torch.zeros(1, 2), torch.full((1, 2), -500.0), mask_of([2]), cap=2.0, level="sequence"
    )
    assert weights.tolist() == [[2.0, 2.0]]


def test_weights_carry_no_gradient():
    logps, sampling, mask = random_logps(5, [3])
    weights = truncated_importance_weights(logps.requires_grad_(), sampling, mask, cap=2.0, level="token")
    assert not weights.requires_grad


@pytest.mark.parametrize(
    ("options", "message"), [({"cap": 0.5}, "cap is 0.5"), ({"level": "response"}, "level is 'response'")]
)
def test_wrong_weight_options_are_named(options, message):
    unchecked = truncated_importance_weights.__wrapped__
    with pytest.raises(ValueError, match=message):
        unchecked(torch.zeros(1, 2), torch.zeros(1, 2), mask_of([2]), **({"cap": 2.0, "level": "token"} | options))
