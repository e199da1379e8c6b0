from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.evals.repeated_samples import Vote, majority_at_n, numbers_of_tries, pass_at_k


def test_pass_at_k_by_hand() -> None:
    # 3 of 10 right: one draw 3/10; two draws 1 - (7*6)/(10*9) = 48/90; eight draws cannot all miss.
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert pass_at_k(10, 3, 2) == pytest.approx(48 / 90)
    assert pass_at_k(10, 3, 8) == 1
    assert pass_at_k(10, 0, 10) == 0


@given(num_samples=st.integers(1, 8), data=st.data())
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(num_samples: int, data: st.DataObject) -> None:
    num_right, k = data.draw(st.integers(0, num_samples)), data.draw(st.integers(1, num_samples))
    draws = list(combinations([index < num_right for index in range(num_samples)], k))
    assert pass_at_k(num_samples, num_right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("num_samples", "num_right", "k"), [(4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0)])
def test_numbers_that_do_not_fit_are_refused(num_samples: int, num_right: int, k: int) -> None:
    with pytest.raises(ValueError, match="1 <= k <= samples >= right"):
        pass_at_k(num_samples, num_right, k)


def test_tries_are_powers_of_two_and_the_number_of_samples() -> None:
    assert [numbers_of_tries(count) for count in (0, 1, 4, 6)] == [[], [1], [1, 2, 4], [1, 2, 4, 6]]


def votes(*said: tuple[str | None, bool]) -> list[Vote]:
    return [Vote(is_right, answer) for answer, is_right in said]


def test_majority_is_what_most_say_whatever_the_share_that_is_right() -> None:
    assert majority_at_n(votes(("7", True), ("7", True), ("8", False), ("9", False))) == 1
    assert majority_at_n(votes(("7", True), ("8", False), ("8", False))) == 0


def test_a_tie_counts_by_the_share_of_its_answers_that_are_right() -> None:
    assert majority_at_n(votes(("7", True), ("8", False))) == 0.5


def test_case_and_white_space_make_no_other_answer() -> None:
    assert majority_at_n(votes(("New  York", True), ("new york ", True), ("Boston", False))) == 1


def test_who_answers_nothing_does_not_vote() -> None:
    assert majority_at_n(votes(("7", True), (None, False), (None, False))) == 1
    assert majority_at_n(votes((None, False), (None, False))) == 0


def test_right_answers_that_were_not_extracted_leave_it_open() -> None:
    assert majority_at_n(votes((None, True), ("8", False))) is None
