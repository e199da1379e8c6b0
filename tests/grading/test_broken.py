"""How many attempts may break: a share of a batch, and of the last twenty attempts where batches are smaller."""

import pytest

from posttrain.errors import UserError
from posttrain.grading.broken import BrokenBudget, BrokenVerdict

HUNG = {"judge": BrokenVerdict.because("timeout", "gave no verdict")}


def grade(budget: BrokenBudget, num_attempts: int, *broken: int) -> None:
    """One batch, in order."""
    budget.begin(num_attempts)
    for index in range(num_attempts):
        budget.count(index, HUNG if index in broken else {})


def test_share_of_a_batch_may_break_and_no_more() -> None:
    budget = BrokenBudget(0.05)
    grade(budget, 100, *range(5))
    grade(budget, 100, *range(50, 55))  # every batch anew
    assert budget.counts == {"judge": {"timeout": 10}}
    with pytest.raises(UserError, match="rewards broke on 6 of the last 60 attempts"):
        grade(budget, 100, *range(54, 60))


def test_run_stops_as_soon_as_the_batch_cannot_be_saved() -> None:
    """A reward that hangs costs its time limit at every attempt."""
    with pytest.raises(UserError, match="rewards broke on 6 of the last 6 attempts"):
        grade(BrokenBudget(0.05), 100, *range(100))


@pytest.mark.parametrize(("share", "allowed"), [(0.0, 0), (0.05, 1), (0.1, 2), (1.0, 8)])
def test_batch_of_less_than_20_counts_as_20(share: float, allowed: int) -> None:
    grade(BrokenBudget(share), 8, *range(allowed))
    if allowed < 8:
        with pytest.raises(UserError):
            grade(BrokenBudget(share), 8, *range(allowed + 1))


def test_small_batches_are_judged_together() -> None:
    """One in twenty may break; that is every third batch of eight, and no two of them next to each other."""
    budget = BrokenBudget(0.05)
    for _ in range(10):
        grade(budget, 8, 3)
        grade(budget, 8)
        grade(budget, 8)
    grade(budget, 8, 3)
    with pytest.raises(UserError, match="broke on 2 of the last 17 attempts"):
        grade(budget, 8, 0)


def test_batches_before_the_last_twenty_attempts_are_forgotten() -> None:
    budget = BrokenBudget(0.05)
    grade(budget, 10, 0)
    grade(budget, 10)
    grade(budget, 10, 0)


def test_the_share_of_small_batches_is_that_of_all_their_attempts() -> None:
    budget = BrokenBudget(0.1)
    grade(budget, 15, 0, 1)
    grade(budget, 15, 0)  # three of 30
    with pytest.raises(UserError, match="broke on 4 of the last 18 attempts"):
        grade(budget, 15, 0, 1, 2)  # one of the batch before


def test_batches_of_one_that_all_break_do_not_go_on() -> None:
    budget = BrokenBudget(0.05)
    grade(budget, 1, 0)
    with pytest.raises(UserError, match="broke on 2 of the last 2 attempts"):
        grade(budget, 1, 0)


def test_error_names_each_reward_its_count_and_the_first_failure_by_place() -> None:
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError as error:
        raised = BrokenVerdict.raised(error)
    budget = BrokenBudget(0.1)
    budget.begin(20)
    budget.count(7, HUNG)
    budget.count(3, {"math": raised, **HUNG})  # comes later and is earlier in the batch
    with pytest.raises(UserError) as caught:
        budget.count(9, HUNG)
    assert str(caught.value) == (
        "rewards broke on 3 of the last 3 attempts ('judge' 3 times, 'math' 1 times), need at most 0.1 of them "
        "(grading.max_broken_share); first 'math': raised ZeroDivisionError: by nothing; mend the reward (a wrong "
        "answer is score 0, a row that it cannot judge score None), or leave out the rows that break it"
    )
