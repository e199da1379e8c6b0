import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.objectives import kl_k1, kl_k2, kl_k3, sequence_kl

POLICY_LOGITS = [0.3, -1.2, 0.8, 0.0]
REFERENCE_LOGITS = [0.5, -0.7, 0.1, 0.2]
logps = st.floats(-12, 0)


def distributions():
    """Log-probabilities of the four tokens of a vocabulary, as one sequence, so that every token is listed once."""
    logits = torch.tensor([POLICY_LOGITS], dtype=torch.float64, requires_grad=True)
    return logits, logits.log_softmax(-1), torch.tensor([REFERENCE_LOGITS], dtype=torch.float64).log_softmax(-1)


def true_kl(left, right):
    return (left.exp() * (left - right)).sum()


def test_estimators_by_hand():
    policy, reference = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-3.0, -2.0]])
    assert kl_k1(policy, reference).tolist() == [[2.0, 0.0]]
    assert kl_k2(policy, reference).tolist() == [[2.0, 0.0]]
    torch.testing.assert_close(kl_k3(policy, reference), torch.tensor([[math.exp(-2) + 1, 0.0]]))


@settings(deadline=None)
@given(st.lists(st.tuples(logps, logps), min_size=1, max_size=5))
def test_estimators_match_the_loop(pairs):
    policy, reference = torch.tensor(pairs, dtype=torch.float64).T.unsqueeze(1)
    for estimator, formula in [
        (kl_k1, lambda p, r: p - r),
        (kl_k2, lambda p, r: (p - r) ** 2 / 2),
        (kl_k3, lambda p, r: math.exp(r - p) - (r - p) - 1),
    ]:
        expected = torch.tensor([[formula(p, r) for p, r in pairs]], dtype=torch.float64)
        torch.testing.assert_close(estimator(policy, reference), expected, atol=1e-12, rtol=1e-9)


@settings(deadline=None)
@given(logps, logps)
def test_k2_and_k3_are_never_negative(policy, reference):
    pair = torch.tensor([[policy]]), torch.tensor([[reference]])
    assert kl_k2(*pair) >= 0
    assert kl_k3(*pair) >= 0


def test_k3_keeps_its_digits_next_to_the_reference():
    value = kl_k3(torch.tensor([[0.0]]), torch.tensor([[1e-4]])).item()  # float32; d^2 / 2 = 5e-9
    assert value == pytest.approx(5e-9, rel=0.01)


@pytest.mark.parametrize("estimator", [kl_k1, kl_k3])
def test_k1_and_k3_have_the_true_kl_as_their_mean(estimator):
    _, policy, reference = distributions()
    torch.testing.assert_close((policy.exp() * estimator(policy, reference)).sum(), true_kl(policy, reference))


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        pytest.param(kl_k1, lambda policy, reference: 0.0 * policy.sum(), id="k1: none"),
        pytest.param(kl_k2, lambda policy, reference: true_kl(policy, reference), id="k2: KL(policy || reference)"),
        pytest.param(kl_k3, lambda policy, reference: true_kl(reference, policy), id="k3: KL(reference || policy)"),
    ],
)
def test_the_mean_gradient_of_an_estimator_is_the_documented_one(estimator, target):
    logits, policy, reference = distributions()
    sampled = (policy.exp().detach() * estimator(policy, reference)).sum()
    (mean_gradient,) = torch.autograd.grad(sampled, logits, retain_graph=True)
    (expected,) = torch.autograd.grad(target(policy, reference), logits)
    torch.testing.assert_close(mean_gradient, expected, atol=1e-12, rtol=1e-9)


def test_sequence_kl_is_the_sum_over_tokens_not_the_mean():
    per_token = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    assert sequence_kl(per_token, mask).tolist() == [6.0, 4.0, 0.0]


def test_nothing_under_the_mask_reaches_the_sequence_kl():
    per_token = torch.tensor([[1.0, float("nan"), float("inf")]])
    assert sequence_kl(per_token, torch.tensor([[True, False, False]])).tolist() == [1.0]
