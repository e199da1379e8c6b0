import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.objectives import GroupType, agapo_advantages

RECIPE = {"all_wrong": "penalize", "all_wrong_penalty": 0.25, "all_correct": "drop"}
LITERAL = RECIPE | {"all_wrong": "literal"}
DROP = RECIPE | {"all_wrong": "drop"}
NAN = float("nan")


def yes(rows):
    return torch.tensor(rows, dtype=torch.bool)


def advantages_of(rewards, outcomes=None, scorable=None, **options):
    """A binary reward is its own outcome, and everything is scorable, unless said otherwise."""
    rewards = torch.as_tensor(rewards, dtype=torch.float64)
    outcomes = rewards > 0.5 if outcomes is None else yes(outcomes)
    scorable = torch.ones_like(outcomes) if scorable is None else yes(scorable)
    return agapo_advantages(rewards, outcomes, scorable, **(RECIPE | options))


@st.composite
def batches(draw, group_size=None):
    """Shaped rewards, binary outcomes and scorable flags of a few groups, types mixed up on purpose."""
    num_groups, num_samples = draw(st.integers(1, 6)), group_size or draw(st.integers(1, 8))
    hundredths, groups = st.integers(-100, 100), ([], [], [])
    for _ in range(num_groups):
        outcome = st.just(draw(st.booleans())) if draw(st.booleans()) else st.booleans()
        for rows, element in zip(groups, (hundredths, outcome, st.booleans() | st.just(True)), strict=True):
            rows.append(draw(st.lists(element, min_size=num_samples, max_size=num_samples)))
    rewards, outcomes, scorable = groups
    return torch.tensor(rewards, dtype=torch.float64) / 100, yes(outcomes), yes(scorable)


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


def loop_advantages(rewards, outcomes, scorable, *, all_wrong, all_wrong_penalty, all_correct, std_floor=1e-4):
    """Global equation of 2.4.2, read aloud, with its mean."""
    loo = loop_leave_one_out(rewards, scorable)
    result = [[0.0] * len(group) for group in rewards]
    normalised = []
    for n, usable in enumerate(scorable):
        members = [g for g, is_usable in enumerate(usable) if is_usable]
        verdicts = {outcomes[n][g] for g in members}
        if len(members) < 2 or (verdicts == {True} and all_correct == "drop"):
            continue
        if verdicts == {False} and all_wrong == "penalize":
            for g in members:
                result[n][g] = -all_wrong_penalty
        elif verdicts != {False} or all_wrong == "literal":
            normalised += [(n, g) for g in members]
    if normalised:
        values = [loo[n][g] for n, g in normalised]
        mean, std = statistics.fmean(values), statistics.pstdev(values)
        for n, g in normalised:
            result[n][g] = (loo[n][g] - mean) / max(std, std_floor)
    return result


# --- group and global


def test_one_right_of_four_by_hand():
    # loo = [1, -1/3, -1/3, -1/3]: variance (1 + 3/9) / 4 = 1/3
    result = advantages_of([[1, 0, 0, 0]])
    expected = torch.tensor([[3**0.5, -(3**0.5) / 3, -(3**0.5) / 3, -(3**0.5) / 3]], dtype=torch.float64)
    torch.testing.assert_close(result.advantages_NG, expected)
    torch.testing.assert_close(result.std, torch.tensor(3**-0.5, dtype=torch.float64))
    assert abs(result.mean) < 1e-15


def test_the_standard_deviation_is_that_of_the_batch_not_of_the_group():
    # loo = [1, -1], [0.2, -0.2]: variance (1 + 1 + 0.04 + 0.04) / 4 = 0.52
    result = advantages_of([[1.0, 0.0], [0.7, 0.5]], outcomes=[[1, 0], [1, 0]])
    expected = torch.tensor([[1.0, -1.0], [0.2, -0.2]], dtype=torch.float64) / 0.52**0.5
    torch.testing.assert_close(result.advantages_NG, expected)


@settings(deadline=None)
@given(batches(), st.sampled_from(["penalize", "literal", "drop"]), st.sampled_from(["drop", "keep"]))
def test_advantages_match_the_loop(batch, all_wrong, all_correct):
    options = {"all_wrong": all_wrong, "all_wrong_penalty": 0.3, "all_correct": all_correct}
    expected = torch.tensor(loop_advantages(*(tensor.tolist() for tensor in batch), **options), dtype=torch.float64)
    torch.testing.assert_close(agapo_advantages(*batch, **options).advantages_NG, expected, atol=1e-9, rtol=1e-9)


@settings(deadline=None)
@given(batches(), st.sampled_from(["penalize", "literal", "drop"]), st.randoms())
def test_advantages_follow_a_permutation_of_groups_and_samples(batch, all_wrong, random):
    num_groups, num_samples = batch[0].shape
    groups, samples = list(range(num_groups)), list(range(num_samples))
    random.shuffle(groups)
    random.shuffle(samples)
    options = RECIPE | {"all_wrong": all_wrong}
    whole = agapo_advantages(*batch, **options)
    permuted = agapo_advantages(*(tensor[groups][:, samples] for tensor in batch), **options)
    torch.testing.assert_close(permuted.advantages_NG, whole.advantages_NG[groups][:, samples], atol=1e-9, rtol=1e-9)
    assert permuted.is_live_NG.equal(whole.is_live_NG[groups][:, samples])
    assert permuted.types_N.equal(whole.types_N[groups])


@pytest.mark.parametrize("num_right", [1, 7])
def test_seven_against_one_stays_finite_and_small(num_right):
    rewards = torch.zeros(64, 8)
    rewards[:, :num_right] = 1.0
    result = agapo_advantages(rewards, rewards > 0.5, torch.ones_like(rewards, dtype=torch.bool), **RECIPE)
    assert result.advantages_NG.isfinite().all()
    assert result.advantages_NG.abs().max() < 3  # sqrt(7) for the odd one out


def test_rounding_in_the_rewards_is_not_blown_up():
    rewards = torch.tensor([[0.1 + 0.2, 0.3, 0.3, 0.3]], dtype=torch.float64)
    assert rewards[0, 0] != rewards[0, 1]
    assert advantages_of(rewards, outcomes=[[1, 1, 1, 0]]).advantages_NG.abs().max() < 1e-11
    assert advantages_of([[0.3 + 1e-7, 0.3, 0.3, 0.3]], outcomes=[[1, 1, 1, 0]]).advantages_NG.abs().max() < 2e-3


def test_float32_rewards_come_back_as_float32():
    result = agapo_advantages(torch.eye(2), yes([[1, 0], [0, 1]]), yes([[1, 1], [1, 1]]), **RECIPE)
    assert {result.advantages_NG.dtype, result.mean.dtype, result.std.dtype} == {torch.float32}


# --- the three readings of an all-wrong group


@pytest.mark.parametrize("reward", [0.0, 0.1, -1 / 3])
def test_literal_gives_an_all_wrong_group_exactly_zero(reward):
    result = advantages_of([[1, 0, 0, 1, 1, 0, 1], [reward] * 7], **LITERAL)
    assert result.advantages_NG[1].tolist() == [0.0] * 7
    assert result.is_live_NG[1].all()


def test_literal_all_wrong_groups_lower_the_standard_deviation():
    assert advantages_of([[1, 0]], **LITERAL).std == 1.0
    assert advantages_of([[1, 0], [0, 0]], **LITERAL).std == 0.5**0.5


def test_literal_lets_a_shaped_reward_push_within_an_all_wrong_group():
    result = advantages_of([[0.1, 0.0]], outcomes=[[0, 0]], **LITERAL)
    torch.testing.assert_close(result.advantages_NG, torch.tensor([[1.0, -1.0]], dtype=torch.float64))


def test_penalize_gives_exactly_the_stated_push():
    result = advantages_of([[1, 0, 0, 0], [0, 0, 0, 0]], scorable=[[1, 1, 1, 1], [1, 1, 0, 1]])
    assert result.advantages_NG[1].tolist() == [-0.25, -0.25, 0.0, -0.25]
    assert result.is_live_NG[1].tolist() == [True, True, False, True]


def test_penalize_leaves_the_other_groups_as_they_are_without_it():
    alone, together = advantages_of([[1, 0, 0, 0]]), advantages_of([[1, 0, 0, 0], [0, 0, 0, 0]])
    assert together.advantages_NG[:1].equal(alone.advantages_NG)
    assert together.std == alone.std


def test_a_batch_of_all_wrong_groups_is_pushed_by_the_penalty_alone():
    result = advantages_of([[0, 0], [0, 0]])
    assert result.advantages_NG.tolist() == [[-0.25, -0.25], [-0.25, -0.25]]
    assert (result.mean, result.std) == (0.0, 0.0)


def test_a_length_bonus_does_not_make_an_all_wrong_group_mixed():
    result = advantages_of([[0.3, 0.1, 0.0, 0.2]], outcomes=[[0, 0, 0, 0]])
    assert result.types_N.tolist() == [GroupType.ALL_WRONG]
    assert result.advantages_NG.tolist() == [[-0.25] * 4]


def test_a_length_bonus_does_not_save_an_all_correct_group_from_being_dropped():
    result = advantages_of([[1.0, 1.3, 1.1, 1.2]], outcomes=[[1, 1, 1, 1]])
    assert result.types_N.tolist() == [GroupType.ALL_CORRECT]
    assert not result.is_live_NG.any()


# --- dropped groups and unscorable samples


@pytest.mark.parametrize(
    ("rewards", "outcomes", "scorable"),
    [
        pytest.param([1.0, 1.2, 1.4], [1, 1, 1], [1, 1, 1], id="all correct"),
        pytest.param([0.0, 0.2, 0.4], [0, 0, 0], [1, 1, 1], id="all wrong"),
        pytest.param([0.9, NAN, NAN], [1, 0, 0], [1, 0, 0], id="unscorable"),
    ],
)
@settings(deadline=None)
@given(batch=batches(group_size=3))
def test_a_dropped_group_changes_nothing(rewards, outcomes, scorable, batch):
    extra = (torch.tensor([rewards], dtype=torch.float64), yes([outcomes]), yes([scorable]))
    without = agapo_advantages(*batch, **DROP)
    joined = agapo_advantages(*(torch.cat(pair) for pair in zip(batch, extra, strict=True)), **DROP)
    assert joined.advantages_NG[:-1].equal(without.advantages_NG)
    assert joined.is_live_NG[:-1].equal(without.is_live_NG)
    assert (joined.mean, joined.std) == (without.mean, without.std)
    assert not joined.is_live_NG[-1].any()
    assert joined.advantages_NG[-1].tolist() == [0.0, 0.0, 0.0]


def test_all_correct_groups_can_be_kept():
    result = advantages_of([[1, 0], [1, 1]], all_correct="keep")
    assert result.is_live_NG.all()
    assert result.advantages_NG[1].tolist() == [0.0, 0.0]
    assert result.std == 0.5**0.5


def test_an_unscorable_sample_changes_nothing_for_its_peers():
    with_it = advantages_of([[1, 0, NAN, 0]], outcomes=[[1, 0, 1, 0]], scorable=[[1, 1, 0, 1]])
    without = advantages_of([[1, 0, 0]])
    assert with_it.advantages_NG[0, [0, 1, 3]].equal(without.advantages_NG[0])
    assert with_it.is_live_NG.tolist() == [[True, True, False, True]]
    assert with_it.advantages_NG[0, 2] == 0


def test_a_batch_without_anything_live_is_zero_not_nan():
    result = advantages_of([[1, 1], [NAN, NAN]], scorable=[[1, 1], [0, 0]])
    assert result.advantages_NG.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert not result.is_live_NG.any()
    assert (result.mean, result.std) == (0.0, 0.0)


# --- several ranks


@settings(deadline=None)
@given(batches(), st.integers(2, 4))
def test_each_rank_finds_its_slice_in_the_gathered_batch_whatever_the_order_of_ranks(batch, num_ranks):
    whole = agapo_advantages(*batch, **RECIPE).advantages_NG
    shards = [tensor.chunk(num_ranks) for tensor in batch]
    backwards = agapo_advantages(*(torch.cat(pieces[::-1]) for pieces in shards), **RECIPE).advantages_NG
    sizes = [len(piece) for piece in shards[0]]
    slices = backwards.split(sizes[::-1])[::-1]
    for mine, expected in zip(slices, whole.split(sizes), strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-9, rtol=1e-9)


def test_a_rank_that_does_not_gather_gets_another_scale():
    rewards = [[1.0, 0.0], [0.6, 0.4]]
    gathered = advantages_of(rewards, outcomes=[[1, 0], [1, 0]]).advantages_NG[1]
    alone = advantages_of(rewards[1:], outcomes=[[1, 0]]).advantages_NG[0]
    assert alone[0] > 2 * gathered[0]


# --- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"all_wrong": "penalise"}, "all_wrong is 'penalise'.*penalize, literal, drop"),
        ({"all_correct": "literal"}, "all_correct is 'literal'.*drop, keep"),
        ({"all_wrong_penalty": -0.1}, "all_wrong_penalty is -0.1"),
        ({"all_wrong_penalty": NAN}, "all_wrong_penalty is nan"),
        ({"std_floor": 0.0}, "std_floor is 0.0"),
    ],
)
def test_wrong_options_are_named(options, message):
    unchecked = agapo_advantages.__wrapped__  # the run-time type check would catch the misspelt literals first
    with pytest.raises(ValueError, match=message):
        unchecked(torch.eye(2), yes([[1, 0], [0, 1]]), yes([[1, 1], [1, 1]]), **(RECIPE | options))
