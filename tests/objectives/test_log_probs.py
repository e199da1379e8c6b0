import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.objectives import token_scores

seeds = st.integers(0, 2**31)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(2, 7))  # N, H, V
budgets = st.integers(1, 70)


def random_case(seed, size):
    tokens, width, vocabulary = size
    draw = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (
        2 * torch.randn(shape, generator=draw) for shape in ((tokens, width), (vocabulary, width), (vocabulary,))
    )
    return hidden, weight, bias, torch.randint(vocabulary, (tokens,), generator=draw)


def of_logits(logits, targets, **options):
    """Scores where the head is the identity, so that the hidden states are the logits."""
    return token_scores(logits, torch.eye(logits.shape[1]), targets, **options)


def test_log_probs_by_hand():
    logps = of_logits(torch.tensor([[1.0, 3.0, 4.0]]).log(), torch.tensor([1])).logps_N
    torch.testing.assert_close(logps, torch.tensor([3 / 8]).log())


def test_temperature_divides_the_logits():
    logps = of_logits(torch.tensor([[1.0, 3.0]]).log(), torch.tensor([1]), temperature=0.5).logps_N
    torch.testing.assert_close(logps, torch.tensor([9 / 10]).log())


def test_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -200.0, -200.0, -200.0]])
    torch.testing.assert_close(of_logits(logits, torch.tensor([0, 0])).entropies_N, torch.tensor([math.log(4), 0.0]))


def test_gradient_is_one_hot_less_softmax():
    logits = torch.tensor([[1.0, 3.0, 4.0]]).log().requires_grad_()
    of_logits(logits, torch.tensor([1])).logps_N.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-1 / 8, 1 - 3 / 8, -4 / 8]]))


def test_token_is_top1_where_no_other_is_more_likely():
    scores = of_logits(torch.tensor([[1.0, 3.0, 4.0], [1.0, 3.0, 4.0], [2.0, 2.0, 1.0]]), torch.tensor([2, 1, 1]))
    assert scores.is_top1_N.tolist() == [True, False, True]


@settings(deadline=None)
@given(seeds, sizes, budgets, st.sampled_from([0.6, 1.0, 1.7]), st.booleans())
def test_values_and_gradients_are_those_of_automatic_differentiation(seed, size, max_logits, temperature, has_bias):
    hidden, weight, bias, targets = random_case(seed, size)
    leaves = [hidden, weight, bias] if has_bias else [hidden, weight]
    ours, plain = ([leaf.clone().requires_grad_() for leaf in leaves] for _ in range(2))
    upstream = torch.rand(targets.shape, generator=torch.Generator().manual_seed(seed))

    scores = token_scores(
        *ours[:2],
        targets,
        bias_V=ours[2] if has_bias else None,
        temperature=temperature,
        max_logits=max_logits,
    )
    distribution = torch.distributions.Categorical(logits=torch.nn.functional.linear(*plain) / temperature)
    expected = distribution.log_prob(targets)

    torch.testing.assert_close(scores.logps_N, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.entropies_N, distribution.entropy(), rtol=1e-4, atol=1e-5)
    (scores.logps_N * upstream).sum().backward()
    (expected * upstream).sum().backward()
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, _, targets = random_case(0, (4, 3, 5))
    hidden.requires_grad_()
    token_scores(hidden, weight, targets).logps_N.sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_entropy_carries_no_gradient():
    hidden, weight, _, targets = random_case(0, (4, 3, 5))
    assert not token_scores(hidden.requires_grad_(), weight, targets).entropies_N.requires_grad


@pytest.mark.parametrize("max_logits", [2**24, 6])
def test_bfloat16_gives_float32_scores_and_gradients_of_its_own_kind(max_logits):
    hidden, weight, _, targets = random_case(0, (5, 8, 6))
    low = [tensor.bfloat16().requires_grad_() for tensor in (hidden, weight)]
    high = [tensor.detach().float().requires_grad_() for tensor in low]
    scores = token_scores(*low, targets, max_logits=max_logits)
    expected = token_scores(*high, targets)
    assert scores.logps_N.dtype == scores.entropies_N.dtype == torch.float32
    torch.testing.assert_close(scores.logps_N, expected.logps_N, rtol=0.05, atol=0.05)
    scores.logps_N.sum().backward()
    expected.logps_N.sum().backward()
    for one, other in zip(low, high, strict=True):
        assert one.grad.dtype == torch.bfloat16
        torch.testing.assert_close(one.grad.float(), other.grad, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(("max_logits", "most"), [(2**24, 64 * 100), (1000, 100 * 20)])
def test_no_more_than_one_matrix_of_logits_waits_for_the_backward_pass(max_logits, most):
    hidden, weight, _, targets = random_case(0, (64, 20, 100))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        token_scores(hidden.requires_grad_(), weight.requires_grad_(), targets, max_logits=max_logits)
    assert max(kept) <= most
    assert sum(size >= 64 * 100 for size in kept) <= 1


def test_a_second_backward_pass_is_refused_and_not_wrong():
    hidden, weight, _, targets = random_case(0, (4, 3, 5))
    total = token_scores(hidden.requires_grad_(), weight, targets).logps_N.sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        total.backward()


def test_no_token_gives_no_score_and_a_gradient_of_zero():
    weight = torch.randn(5, 3, requires_grad=True)
    hidden = torch.zeros(0, 3, requires_grad=True)
    scores = token_scores(hidden, weight, torch.zeros(0, dtype=torch.long))
    assert len(scores.logps_N) == len(scores.entropies_N) == 0
    scores.logps_N.sum().backward()
    assert not weight.grad.any()


def test_a_temperature_of_zero_is_named():
    hidden, weight, _, targets = random_case(0, (1, 2, 3))
    with pytest.raises(ValueError, match=r"temperature is 0\.0"):
        token_scores(hidden, weight, targets, temperature=0.0)
