import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.objectives import GroupType, group_types, leave_one_out

NAN = float("nan")


def yes(rows):
    return torch.tensor(rows, dtype=torch.bool)


@st.composite
def groups(draw):
    """Rewards in hundredths and scorable flags of a few groups."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rewards = torch.randint(-100, 101, shape, generator=generator).double() / 100
    return rewards, torch.rand(shape, generator=generator) < draw(st.sampled_from([0.3, 0.8, 1.0]))


def loop_leave_one_out(rewards, scorable):
    """Group equation of 2.4.2, read aloud."""
    result = []
    for group, usable in zip(rewards, scorable, strict=True):
        row = []
        for i, reward in enumerate(group):
            peers = [group[j] for j in range(len(group)) if j != i and usable[j]]
            row.append(reward - sum(peers) / len(peers) if usable[i] and peers else 0.0)
        result.append(row)
    return result


# --- types of groups


def test_groups_are_typed_by_their_scorable_outcomes():
    outcomes = yes([[0, 0, 0], [0, 1, 0], [1, 1, 1], [1, 0, 0], [1, 0, 1]])
    scorable = yes([[1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 0, 1]])
    expected = [GroupType.ALL_WRONG, GroupType.MIXED, GroupType.ALL_CORRECT, GroupType.ALL_WRONG, GroupType.ALL_CORRECT]
    assert group_types(outcomes, scorable).tolist() == expected


def test_a_group_with_fewer_than_two_scorable_samples_has_no_baseline():
    types = group_types(yes([[1, 0, 0], [1, 0, 0], [1, 0, 0]]), yes([[0, 0, 0], [1, 0, 0], [1, 1, 0]]))
    assert types.tolist() == [GroupType.UNSCORABLE, GroupType.UNSCORABLE, GroupType.MIXED]


def test_the_name_of_a_type_is_the_name_used_in_logs():
    assert [t.name.lower() for t in GroupType] == ["all_wrong", "mixed", "all_correct", "unscorable"]


# --- leave-one-out


def test_leave_one_out_by_hand():
    loo = leave_one_out(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.5, 0.0]]), yes([[1] * 4] * 2))
    # 0.5 - (1 + 1 + 0) / 3 = -1/6
    expected = torch.tensor([[1.0, -1 / 3, -1 / 3, -1 / 3], [0.5, 0.5, -1 / 6, -5 / 6]])
    torch.testing.assert_close(loo, expected)


def test_an_unscorable_sample_is_no_peer():
    loo = leave_one_out(torch.tensor([[1.0, NAN, 0.0, 0.5]]), yes([[1, 0, 1, 1]]))
    torch.testing.assert_close(loo, torch.tensor([[0.75, 0.0, -0.75, 0.0]]))


def test_a_sample_without_peers_gets_zero():
    loo = leave_one_out(torch.tensor([[0.7], [0.3]]), yes([[1], [0]]))
    assert loo.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("reward", [0.1, 1 / 3, 1e-9, 1e9, -0.7])
@pytest.mark.parametrize("num_samples", [2, 3, 7, 8])
def test_equal_rewards_give_exact_zeros(reward, num_samples):
    loo = leave_one_out(torch.full((1, num_samples), reward), torch.ones(1, num_samples, dtype=torch.bool))
    assert loo.eq(0).all()


@settings(deadline=None)
@given(groups())
def test_leave_one_out_matches_the_loop(batch):
    rewards, scorable = batch
    expected = torch.tensor(loop_leave_one_out(rewards.tolist(), scorable.tolist()), dtype=torch.float64)
    torch.testing.assert_close(leave_one_out(rewards, scorable), expected, atol=1e-12, rtol=0)


@settings(deadline=None)
@given(groups())
def test_leave_one_out_sums_to_zero_in_every_group(batch):
    rewards, scorable = batch
    sums = leave_one_out(rewards, scorable).sum(dim=1)
    torch.testing.assert_close(sums, torch.zeros_like(sums), atol=1e-12, rtol=0)


@pytest.mark.parametrize("bad", [NAN, float("inf")])
def test_a_scorable_reward_that_is_not_finite_is_named(bad):
    rewards = torch.tensor([[0.0, 1.0], [1.0, bad]])
    with pytest.raises(ValueError, match=r"sample 1 in group 1 is (nan|inf).*unscorable"):
        leave_one_out(rewards, yes([[1, 1], [1, 1]]))
