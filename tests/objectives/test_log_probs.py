import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.objectives import selected_log_probs, token_entropy

seeds = st.integers(0, 2**31)
sizes = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(2, 6))
chunks = st.integers(1, 30)


def random_case(seed, size):
    draw = torch.Generator().manual_seed(seed)
    return 4 * torch.randn(size, generator=draw), torch.randint(size[-1], size[:-1], generator=draw)


def test_log_probs_by_hand():
    logits = torch.tensor([[[1.0, 3.0, 4.0]]]).log()
    torch.testing.assert_close(selected_log_probs(logits, torch.tensor([[1]])), torch.tensor([[3 / 8]]).log())


def test_temperature_divides_the_logits():
    logits = torch.tensor([[[1.0, 3.0]]]).log()
    sharper = selected_log_probs(logits, torch.tensor([[1]]), temperature=0.5)
    torch.testing.assert_close(sharper, torch.tensor([[9 / 10]]).log())


@settings(deadline=None)
@given(seeds, sizes, chunks, st.sampled_from([0.6, 1.0, 1.7]))
def test_log_probs_match_the_loop(seed, size, chunk_tokens, temperature):
    logits, ids = random_case(seed, size)
    logps = selected_log_probs(logits, ids, temperature=temperature, chunk_tokens=chunk_tokens)
    for b in range(size[0]):
        for t in range(size[1]):
            scaled = [logit / temperature for logit in logits[b, t].tolist()]
            expected = scaled[ids[b, t]] - math.log(sum(math.exp(logit) for logit in scaled))
            assert logps[b, t].item() == pytest.approx(expected, abs=1e-4)


@settings(deadline=None)
@given(seeds, sizes, chunks)
def test_chunks_change_neither_value_nor_gradient(seed, size, chunk_tokens):
    logits, ids = random_case(seed, size)
    weights = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed))
    chunked, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    actual = selected_log_probs(chunked, ids, chunk_tokens=chunk_tokens)
    expected = plain.log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    (weights * actual).sum().backward()
    (weights * expected).sum().backward()
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(chunked.grad, plain.grad)


def test_bfloat16_logits_give_float32_log_probs():
    logits, ids = random_case(0, (2, 5, 6))
    low = logits.bfloat16()
    logps = selected_log_probs(low, ids, chunk_tokens=3)
    assert logps.dtype == token_entropy(low).dtype == torch.float32
    torch.testing.assert_close(logps, selected_log_probs(low.float(), ids))


def test_a_shifted_view_of_logits_is_taken_as_it_is():
    logits, ids = random_case(1, (2, 5, 6))
    expected = selected_log_probs(logits[:, :-1].contiguous(), ids[:, 1:].contiguous())
    torch.testing.assert_close(selected_log_probs(logits[:, :-1], ids[:, 1:], chunk_tokens=4), expected)


def test_no_float32_copy_of_the_logits_waits_for_the_backward_pass():
    logits = torch.zeros(1, 64, 100, dtype=torch.bfloat16, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.dtype) or tensor, lambda t: t):
        logps = selected_log_probs(logits, torch.zeros(1, 64, dtype=torch.long), chunk_tokens=8)
    logps.sum().backward()
    assert torch.float32 not in kept


def test_entropy_by_hand():
    logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.0, -math.inf, -math.inf, -math.inf]]])
    torch.testing.assert_close(token_entropy(logits), torch.tensor([[math.log(4), 0.0]]))


@settings(deadline=None)
@given(seeds, sizes, chunks, st.sampled_from([0.6, 1.0]))
def test_entropy_is_that_of_a_categorical_distribution(seed, size, chunk_tokens, temperature):
    logits, _ = random_case(seed, size)
    actual = token_entropy(logits, temperature=temperature, chunk_tokens=chunk_tokens)
    expected = torch.distributions.Categorical(logits=logits / temperature).entropy()
    torch.testing.assert_close(actual, expected)


def test_entropy_carries_no_gradient():
    assert not token_entropy(torch.zeros(1, 2, 3, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("options", "message"), [({"temperature": 0.0}, "temperature is 0.0"), ({"chunk_tokens": 0}, "chunk_tokens is 0")]
)
def test_wrong_options_are_named(options, message):
    logits, ids = random_case(0, (1, 2, 3))
    with pytest.raises(ValueError, match=message):
        selected_log_probs(logits, ids, **options)
    with pytest.raises(ValueError, match=message):
        token_entropy(logits, **options)
