import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.evals.intervals import share_interval
from posttrain.evals.paired import RESAMPLES, bootstrap_interval, compare, mcnemar_exact, permutation_test
from posttrain.evals.repeated_samples import pass_at_k

OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


def one_each(*values: float) -> list[list[float]]:
    return [[value] for value in values]


def test_mcnemar_by_hand() -> None:
    # 1 against 5 of 6 coin flips: 2 * (1 + 6) / 64. Even splits and none at all say nothing.
    assert mcnemar_exact(1, 5) == mcnemar_exact(5, 1) == pytest.approx(14 / 64)
    assert mcnemar_exact(0, 6) == pytest.approx(2 / 64)
    assert mcnemar_exact(3, 3) == mcnemar_exact(0, 0) == 1


def test_only_the_questions_that_differ_count() -> None:
    first, second = one_each(1, 0, 0, 0, 0, 0, 0), one_each(1, 1, 1, 1, 1, 1, 0)
    comparison = compare(first, second)
    assert (comparison.only_first, comparison.only_second) == (0, 5)
    assert comparison.p_value == pytest.approx(2 / 32)
    assert comparison.method == "McNemar's exact test"
    assert compare(first + one_each(*[1] * 50), second + one_each(*[1] * 50)).p_value == comparison.p_value


def test_permutation_test_of_four_equal_differences_is_two_of_sixteen_signs() -> None:
    assert permutation_test([0.5] * 4, np.random.default_rng(0)) == pytest.approx(2 / 16, abs=0.01)
    assert permutation_test([0.0] * 4, np.random.default_rng(0)) == 1


def test_signs_that_reach_the_difference_exactly_count_also_where_floats_part_them() -> None:
    assert permutation_test([0.5], np.random.default_rng(0)) == 1
    # Of the 16 sums of ±0.1 ±0.2 ±0.3 ±0.3 three are 0.3 and three -0.3; three on either side are beyond.
    assert permutation_test([0.1, 0.2, 0.3, -0.3], np.random.default_rng(0)) == pytest.approx(12 / 16, abs=0.02)


def test_p_value_of_a_permutation_test_is_never_0() -> None:
    """Of 2^60 signs two would do; the one that was observed is counted among those drawn."""
    assert permutation_test([0.5] * 60, np.random.default_rng(0)) == 1 / (RESAMPLES + 1)


@pytest.mark.parametrize(("only_second", "is_clear"), [(5, False), (6, True)])
def test_a_difference_is_clear_below_one_in_twenty(only_second: int, is_clear: bool) -> None:
    """p is 2 / 32 and 2 / 64."""
    assert compare(one_each(*[0] * only_second), one_each(*[1] * only_second)).is_clear is is_clear


def test_one_side_with_several_samples_takes_the_permutation_test() -> None:
    assert compare([[1], [0]], [[1, 0], [0, 0]]).method == "permutation test over questions"


def test_several_samples_are_compared_by_the_means_of_their_questions() -> None:
    first, second = [[1, 0], [0, 0], [1, 1]], [[1, 1], [1, 0], [1, 1]]
    comparison = compare(first, second)
    assert comparison.method == "permutation test over questions"
    assert (comparison.first, comparison.second) == (0.5, pytest.approx(5 / 6))
    assert comparison.difference.mean == pytest.approx(1 / 3)
    assert (comparison.only_first, comparison.only_second) == (0, 2)


def test_pairing_finds_what_two_intervals_do_not() -> None:
    # 100 questions, 40 and 50 right: the intervals overlap, but the second side loses no question that the first has.
    first, second = one_each(*[1] * 40, *[0] * 60), one_each(*[1] * 50, *[0] * 50)
    assert share_interval(first).high > share_interval(second).low
    comparison = compare(first, second)
    assert comparison.is_clear
    assert comparison.difference.low > 0


@settings(max_examples=30)
@given(pairs=OUTCOMES)
def test_swapping_the_sides_turns_the_difference_over(pairs: list[tuple[bool, bool]]) -> None:
    first, second = ([[float(pair[side])] for pair in pairs] for side in (0, 1))
    one, other = compare(first, second), compare(second, first)
    assert one.p_value == other.p_value
    assert one.difference.mean == pytest.approx(-other.difference.mean)
    assert one.difference.low <= one.difference.mean <= one.difference.high


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 and 2 questions"):
        compare([[1]], [[1], [0]])
    with pytest.raises(ValueError, match="at least one"):
        compare([], [])


def test_verdict_names_the_winner_on_either_side() -> None:
    worse, better = one_each(*[0] * 20), one_each(*[1] * 12, *[0] * 8)
    said = "B is better than A by 60.0 points [40.0, 80.0] (20 questions, p < 0.001, McNemar's exact test)"
    assert compare(worse, better).verdict("A", "B") == said
    assert compare(better, worse).verdict("B", "A") == said


def test_verdict_says_when_it_may_be_chance_and_when_nothing_differs() -> None:
    unclear = compare(one_each(1, 0, 0, 0), one_each(0, 1, 1, 0)).verdict("A", "B")
    assert unclear.startswith("A and B cannot be told apart: the difference of 25.0 points [−")
    assert "p = 1.000" in unclear
    assert compare(one_each(1, 0), one_each(1, 0)).verdict("A", "B") == "A and B do equally well at each of 2 questions"


# --- do the intervals hold what they promise? ---


def questions(random: np.random.Generator, num_questions: int, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """How hard each question is, from nearly never to nearly always right, and samples of it."""
    chances = random.beta(0.6, 0.8, num_questions)
    return chances, (random.random((num_questions, num_samples)) < chances[:, None]).astype(float)


def share_inside(covered: list[bool]) -> float:
    return sum(covered) / len(covered)


def test_average_over_samples_lies_in_its_interval_in_19_of_20_evaluations() -> None:
    random = np.random.default_rng(0)
    truth = 0.6 / 1.4
    drawn = [questions(random, 60, 8)[1] for _ in range(250)]
    intervals = [share_interval(outcomes.tolist()) for outcomes in drawn]
    assert 0.93 <= share_inside([low <= truth <= high for _, low, high in intervals]) <= 0.98
    # As if the 480 samples were independent, the interval would miss far too often.
    naive = [share_interval([[value] for value in outcomes.ravel()]) for outcomes in drawn]
    assert share_inside([low <= truth <= high for _, low, high in naive]) < 0.75


def test_pass_at_k_lies_in_its_interval_in_at_least_19_of_20_evaluations() -> None:
    random = np.random.default_rng(1)
    truth = 1 - float(np.mean((1 - random.beta(0.6, 0.8, 1_000_000)) ** 4))
    covered = []
    for _ in range(400):
        _, outcomes = questions(random, 60, 8)
        rates = [[pass_at_k(8, int(right), 4)] for right in outcomes.sum(axis=1)]
        _, low, high = share_interval(rates)
        covered.append(low <= truth <= high)
    assert share_inside(covered) >= 0.94


def test_bootstrap_holds_the_true_difference_in_19_of_20_comparisons() -> None:
    random = np.random.default_rng(2)
    covered = []
    for _ in range(150):
        chances = random.beta(0.6, 0.8, 80)
        better = chances + 0.1 * (1 - chances)
        sides = [(random.random((80, 4)) < chance[:, None]).mean(axis=1) for chance in (chances, better)]
        _, low, high = bootstrap_interval(sides[1] - sides[0], random)
        covered.append(low <= 0.1 * 0.8 / 1.4 <= high)
    assert 0.89 <= share_inside(covered) <= 0.99


def test_equal_sides_are_called_different_in_at_most_1_of_20_comparisons() -> None:
    random = np.random.default_rng(3)
    chances = random.beta(0.6, 0.8, (400, 60))
    sides = random.random((2, 400, 60)) < chances
    alarms = [
        mcnemar_exact(int((one & ~other).sum()), int((other & ~one).sum())) < 0.05
        for one, other in zip(*sides, strict=True)
    ]
    assert share_inside(alarms) <= 0.06
