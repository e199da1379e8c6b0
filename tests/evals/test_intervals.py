import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.evals.intervals import Interval, count_interval, share_interval

BINARY = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=5), min_size=1, max_size=20)


def one_each(values: list[float]) -> list[list[float]]:
    return [[value] for value in values]


def approx(mean: float, low: float, high: float) -> Interval:
    return Interval(*(pytest.approx(value, abs=1e-4) for value in (mean, low, high)))


def test_share_of_8_in_10_has_wilsons_interval() -> None:
    # (.8 + 3.8415/20 +- 1.96 sqrt(.016 + 3.8415/400)) / (1 + 3.8415/10)
    assert share_interval(one_each([1.0] * 8 + [0.0] * 2)) == approx(0.8, 0.4902, 0.9433)


def test_none_and_all_in_10_still_have_a_width() -> None:
    # 3.8415 / 13.8415
    assert share_interval(one_each([0.0] * 10)) == approx(0.0, 0.0, 0.2775)
    assert share_interval(one_each([1.0] * 10)) == approx(1.0, 0.7225, 1.0)


def test_samples_that_agree_within_their_question_count_as_one() -> None:
    assert share_interval([[1, 1, 1], [0, 0, 0], [1, 1, 1]]) == share_interval(one_each([1, 0, 1]))
    assert share_interval([[1, 1]] * 10) == share_interval(one_each([1] * 10))


def test_samples_that_spread_like_independent_ones_count_in_full() -> None:
    # Means 1/2, 1, 0, 1/2: variance 1/8, of independent answers 1/4; so 4 questions with 2 samples weigh as 8.
    assert share_interval([[1, 0], [1, 1], [0, 0], [0, 1]]) == approx(0.5, 0.2152, 0.7848)


def test_questions_that_agree_by_chance_weigh_no_more_than_their_samples() -> None:
    assert share_interval([[1, 0]] * 4) == share_interval(one_each([1, 0] * 4))
    # Means 1/2, 1/2, 1/2, 1 would be those of 20 independent answers.
    assert share_interval([[1, 0], [1, 0], [0, 1], [1, 1]]) == share_interval(one_each([1] * 5 + [0] * 3))


def test_every_question_weighs_the_same_however_many_samples_it_has() -> None:
    assert share_interval([[1], [0, 0, 0]]).mean == 0.5
    assert count_interval([[10], [0, 0, 0]]).mean == 5


@settings(deadline=None)
@given(values=BINARY)
def test_share_interval_holds_its_mean_and_stays_in_0_to_1(values: list[list[float]]) -> None:
    mean, low, high = share_interval(values)
    assert 0 <= low <= mean <= high <= 1
    assert low < high


@settings(deadline=None)
@given(values=BINARY)
def test_share_interval_turns_over_with_the_question(values: list[list[float]]) -> None:
    mean, low, high = share_interval(values)
    opposite = share_interval([[1 - value for value in of_one] for of_one in values])
    assert opposite == Interval(*(pytest.approx(1 - value) for value in (mean, high, low)))


@settings(deadline=None)
@given(values=BINARY)
def test_same_questions_four_times_over_narrow_the_share_interval(values: list[list[float]]) -> None:
    once, four_times = share_interval(values), share_interval(values * 4)
    assert four_times.mean == pytest.approx(once.mean)
    assert four_times.high - four_times.low < once.high - once.low


def test_count_interval_is_the_normal_one_over_questions() -> None:
    # 2, 4, 6: standard deviation 2, of the mean 2 / sqrt 3 = 1.1547, times 1.96 = 2.2632.
    assert count_interval(one_each([2, 4, 6])) == approx(4, 1.7368, 6.2632)
    assert count_interval([[1, 3], [4, 4], [5, 7]]) == approx(4, 1.7368, 6.2632)


def test_two_questions_have_a_spread() -> None:
    # 4, 6: standard deviation 1.4142, of the mean 1, times 1.96.
    assert count_interval(one_each([4, 6])) == approx(5, 3.04, 6.96)


def test_count_interval_does_not_reach_below_0() -> None:
    assert count_interval(one_each([0, 0, 0, 8])).low == 0


def test_one_question_and_equal_counts_have_no_spread() -> None:
    assert count_interval([[3, 5]]) == Interval(4, 4, 4)
    assert count_interval(one_each([7, 7, 7])) == Interval(7, 7, 7)
