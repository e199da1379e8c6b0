import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.objectives import agapo_advantages, agapo_loss

NAN, INF = float("nan"), float("inf")
FEATURES, VOCABULARY = 3, 5
seeds = st.integers(0, 2**31)
lengths_lists = st.lists(st.integers(0, 6), min_size=1, max_size=6)


def mask_of(lengths, width=None):
    return torch.arange(max(width or max(lengths), 1)) < torch.tensor(lengths)[:, None]


class Batch:
    """Random sequences scored by a tiny softmax model, so that gradients are those of shared parameters."""

    def __init__(self, seed, lengths, width=None):
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=draw, dtype=torch.float64)

        num_rows = len(lengths)
        self.mask = mask_of(lengths, width)
        shape = self.mask.shape
        self.parameters = normal(FEATURES, VOCABULARY).requires_grad_()
        self.features = normal(*shape, FEATURES)
        self.ids = torch.randint(VOCABULARY, shape, generator=draw)
        self.reference = -normal(*shape).abs()
        self.weights = normal(*shape).abs()
        self.advantages = normal(num_rows)
        self.is_live = torch.rand(num_rows, generator=draw) < 0.7

    def logps(self, rows=slice(None)):
        log_softmax = (self.features[rows] @ self.parameters).log_softmax(-1)
        return log_softmax.gather(-1, self.ids[rows].unsqueeze(-1)).squeeze(-1)

    def result(self, rows=slice(None), **options):
        defaults = {
            "weights_BT": self.weights[rows],
            "ref_logps_BT": self.reference[rows],
            "beta": 0.1,
            "num_live_sequences": self.is_live.sum(),
            "length_divisor": 7.0,
        }
        return agapo_loss(
            self.logps(rows), self.mask[rows], self.advantages[rows], self.is_live[rows], **(defaults | options)
        )

    def gradient(self, loss):
        (gradient,) = torch.autograd.grad(loss, self.parameters)
        return gradient


def loop_loss(batch, *, beta, kl_estimator, length_treatment, length_divisor):
    """Objective of 2.4.2 as a loss, read aloud."""
    logps, total, num_live = batch.logps().tolist(), 0.0, int(batch.is_live.sum())
    for i, tokens in enumerate(batch.mask.tolist()):
        if not batch.is_live[i]:
            continue
        policy = kl = 0.0
        for t, is_trained in enumerate(tokens):
            if is_trained:
                logp, ref = logps[i][t], batch.reference[i, t].item()
                policy += batch.weights[i, t].item() * logp
                kl += 0.5 * (logp - ref) ** 2 if kl_estimator == "k2" else math.exp(ref - logp) - (ref - logp) - 1
        divisor = length_divisor if length_treatment == "constant" else max(sum(tokens), 1)
        total += (-batch.advantages[i].item() * policy + beta * kl) / divisor
    return total / max(num_live, 1)


# --- value and gradient


def test_loss_by_hand():
    logps = torch.tensor([[-1.0, -2.0], [-3.0, -9.0]], requires_grad=True)
    ref_logps = torch.tensor([[-1.0, -4.0], [-2.0, 5.0]])
    mask = torch.tensor([[True, True], [True, False]])
    result = agapo_loss(
        logps, mask, torch.tensor([2.0, -1.0]), torch.tensor([True, True]), num_live_sequences=2.0, length_divisor=4.0,
        weights_BT=torch.tensor([[1.0, 0.5], [2.0, 2.0]]), ref_logps_BT=ref_logps, beta=0.1, kl_estimator="k2",
    )  # fmt: skip
    # policy: -2 * (-1 - 0.5 * 2) = 4 and 1 * (2 * -3) = -6; KL: 0 + 2^2 / 2 = 2 and 1 / 2; all over 2 * 4
    torch.testing.assert_close(result.policy_loss, torch.tensor((4.0 - 6.0) / 8))
    torch.testing.assert_close(result.kl_loss, torch.tensor(0.1 * (2.0 + 0.5) / 8))
    torch.testing.assert_close(result.loss, result.policy_loss + result.kl_loss)
    torch.testing.assert_close(result.kl_B, torch.tensor([2.0, 0.5]))


def test_a_mean_per_response_divides_each_response_by_its_own_length():
    logps = torch.tensor([[-1.0, -1.0, -1.0, -1.0], [-1.0, -1.0, 0.0, 0.0]])
    ref_logps = torch.zeros(2, 4)
    result = agapo_loss(
        logps, mask_of([4, 2]), torch.tensor([1.0, 1.0]), torch.tensor([True, True]), num_live_sequences=2,
        length_divisor=100.0, ref_logps_BT=ref_logps, beta=1.0, kl_estimator="k2", length_treatment="per_response_mean",
    )  # fmt: skip
    torch.testing.assert_close(result.policy_loss, torch.tensor(1.0))
    torch.testing.assert_close(result.kl_loss, torch.tensor(0.5))
    assert result.kl_B.tolist() == [2.0, 1.0]  # measured as a sum all the same


def test_the_policy_gradient_is_the_advantage_on_every_token_however_rare():
    logps = torch.tensor([[-0.01, -30.0], [-5.0, -0.5]], requires_grad=True)
    advantages = torch.tensor([1.5, -0.5])
    result = agapo_loss(
        logps, mask_of([2, 2]), advantages, torch.tensor([True, True]), num_live_sequences=1, length_divisor=1
    )
    result.loss.backward()
    assert logps.grad.tolist() == [[-1.5, -1.5], [0.5, 0.5]]


@settings(deadline=None)
@given(seeds, lengths_lists, st.sampled_from(["k2", "k3"]), st.sampled_from(["constant", "per_response_mean"]))
def test_loss_matches_the_loop(seed, lengths, kl_estimator, length_treatment):
    batch = Batch(seed, lengths)
    options = {"beta": 0.3, "kl_estimator": kl_estimator, "length_treatment": length_treatment, "length_divisor": 5.0}
    assert batch.result(**options).loss.item() == pytest.approx(loop_loss(batch, **options), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(seeds, lengths_lists, st.sampled_from(["k2", "k3"]))
def test_the_kl_term_pulls_the_policy_towards_the_reference(seed, lengths, kl_estimator):
    batch = Batch(seed, lengths)
    logps = batch.logps().detach().requires_grad_()
    agapo_loss(
        logps, batch.mask, torch.zeros_like(batch.advantages), torch.ones_like(batch.is_live), num_live_sequences=1,
        length_divisor=1, ref_logps_BT=batch.reference, beta=1.0, kl_estimator=kl_estimator,
    ).loss.backward()  # fmt: skip
    downhill = -logps.grad[batch.mask]
    assert downhill.sign().equal((batch.reference - logps).detach()[batch.mask].sign())


def test_beta_zero_measures_the_kl_without_acting_on_it():
    batch = Batch(0, [3, 2, 4])
    measured, absent = batch.result(beta=0.0), batch.result(beta=0.0, ref_logps_BT=None)
    assert measured.kl_B.equal(batch.result(beta=0.1).kl_B)
    assert measured.kl_loss == 0
    assert absent.kl_B.tolist() == [0.0, 0.0, 0.0]
    assert batch.gradient(measured.loss).equal(batch.gradient(absent.loss))


def test_without_weights_every_weight_is_one():
    batch = Batch(1, [3, 2, 4])
    ones = batch.result(weights_BT=torch.ones_like(batch.weights))
    assert batch.result(weights_BT=None).loss == ones.loss


# --- how the batch is laid out does not matter


@settings(deadline=None)
@given(
    seeds,
    st.lists(st.integers(0, 6), min_size=2, max_size=6),
    st.data(),
    st.sampled_from(["constant", "per_response_mean"]),
)
def test_micro_batches_add_up_to_the_whole_batch_however_it_is_cut(seed, lengths, data, length_treatment):
    batch = Batch(seed, lengths)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(lengths) - 1))))
    parts = [
        batch.result(slice(start, end), length_treatment=length_treatment)
        for start, end in zip([0, *cuts], [*cuts, len(lengths)], strict=True)
    ]
    whole = batch.result(length_treatment=length_treatment)
    for name in ("loss", "policy_loss", "kl_loss"):
        torch.testing.assert_close(sum(getattr(part, name) for part in parts), getattr(whole, name))
    torch.testing.assert_close(torch.cat([part.kl_B for part in parts]), whole.kl_B)
    torch.testing.assert_close(sum(batch.gradient(part.loss) for part in parts), batch.gradient(whole.loss))


@settings(deadline=None)
@given(seeds, lengths_lists, st.integers(1, 4), st.sampled_from([0.0, NAN, INF, -INF]))
def test_padding_of_any_content_changes_nothing(seed, lengths, num_padding, content):
    batch = Batch(seed, lengths)
    padding = (0, num_padding)

    def padded(tensor, value=content):
        return torch.nn.functional.pad(tensor, padding, value=value)

    result = agapo_loss(
        padded(batch.logps()), padded(batch.mask, False), batch.advantages, batch.is_live,
        num_live_sequences=batch.is_live.sum(), length_divisor=7.0, weights_BT=padded(batch.weights),
        ref_logps_BT=padded(batch.reference), beta=0.1,
    )  # fmt: skip
    expected = batch.result()
    torch.testing.assert_close(result.loss, expected.loss)
    torch.testing.assert_close(result.kl_B, expected.kl_B)
    torch.testing.assert_close(batch.gradient(result.loss), batch.gradient(expected.loss))


# --- dropped sequences


@pytest.mark.parametrize("poison", [NAN, INF, -INF])
def test_dropped_rows_of_any_content_do_not_poison(poison):
    logps = torch.tensor([[-1.0, -2.0], [poison, poison]], requires_grad=True)
    poisoned = torch.tensor([[-1.0, -1.0], [poison, poison]])
    result = agapo_loss(
        logps, mask_of([2, 2]), torch.tensor([1.0, poison]), torch.tensor([True, False]), num_live_sequences=1,
        length_divisor=1, weights_BT=poisoned.abs(), ref_logps_BT=poisoned, beta=1.0,
    )  # fmt: skip
    result.loss.backward()
    assert result.loss.isfinite()
    assert result.kl_B[1] == 0
    assert logps.grad[0].isfinite().all()
    assert logps.grad[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("num_live_sequences", [0, 0.0, torch.tensor(0)])
@pytest.mark.parametrize("length_treatment", ["constant", "per_response_mean"])
def test_a_batch_without_live_sequences_is_zero_and_can_be_differentiated(num_live_sequences, length_treatment):
    logps = torch.tensor([[-1.0, NAN]], requires_grad=True)
    result = agapo_loss(
        logps, mask_of([2]), torch.tensor([1.0]), torch.tensor([False]), num_live_sequences=num_live_sequences,
        length_divisor=1, ref_logps_BT=torch.zeros(1, 2), beta=1.0, length_treatment=length_treatment,
    )  # fmt: skip
    result.loss.backward()
    assert result.loss == 0
    assert logps.grad.tolist() == [[0.0, 0.0]]


def test_a_share_of_a_live_sequence_is_a_valid_count():
    """A framework that averages over ranks is countered by dividing the count by their number: 1 live over 4 ranks."""
    batch = Batch(2, [3])
    batch.is_live[:] = True
    quarter, one = batch.result(num_live_sequences=0.25), batch.result(num_live_sequences=1)
    torch.testing.assert_close(quarter.loss, 4 * one.loss)


@settings(deadline=None)
@given(seeds, st.lists(st.integers(0, 5), min_size=4, max_size=4), st.sampled_from([[1, 1], [0, 0]]))
def test_a_dropped_group_moves_nothing(seed, lengths, outcomes):
    """From rewards to gradient: a mixed group next to a dropped one moves the model as if it were alone."""
    batch = Batch(seed, lengths)
    outcomes = torch.tensor([[1, 0], outcomes], dtype=torch.bool)
    scorable = torch.ones_like(outcomes)
    options = {"all_wrong": "drop", "all_wrong_penalty": 0.0, "all_correct": "drop"}

    def gradient(num_groups, rows):
        chosen = outcomes[:num_groups]
        advantages = agapo_advantages(chosen.double(), chosen, scorable[:num_groups], **options)
        batch.advantages, batch.is_live = advantages.advantages_NG.flatten(), advantages.is_live_NG.flatten()
        return batch.gradient(batch.result(rows).loss)

    torch.testing.assert_close(gradient(2, slice(0, 4)), gradient(1, slice(0, 2)))


def test_a_literal_all_wrong_group_moves_the_model_through_its_kl_alone():
    batch = Batch(3, [3, 3])
    advantages = agapo_advantages(
        torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool),
        all_wrong="literal", all_wrong_penalty=0.0, all_correct="drop",
    )  # fmt: skip
    batch.advantages, batch.is_live = advantages.advantages_NG.flatten(), advantages.is_live_NG.flatten()
    assert batch.gradient(batch.result(beta=0.0).loss).eq(0).all()
    assert batch.gradient(batch.result(beta=0.1).loss).abs().max() > 1e-4


# --- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_estimator": "k1"}, "kl_estimator is 'k1'.*k3, k2"),
        ({"length_treatment": "mean"}, "length_treatment is 'mean'.*constant, per_response_mean"),
        ({"length_divisor": 0}, "length_divisor is 0"),
        ({"beta": 0.1}, "beta is 0.1 but ref_logps_BT is None"),
    ],
)
def test_wrong_loss_options_are_named(options, message):
    unchecked = agapo_loss.__wrapped__  # the run-time type check would catch the misspelt literals first
    with pytest.raises(ValueError, match=message):
        unchecked(
            torch.zeros(1, 2), mask_of([2]), torch.ones(1), torch.tensor([True]),
            **({"num_live_sequences": 1, "length_divisor": 1} | options),
        )  # fmt: skip
