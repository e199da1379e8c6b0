"""Async rewards work as they are, many at a time, and one that goes wrong costs its own attempt only."""

import warnings
from collections.abc import Iterator

import pytest

from posttrain.grading import Graded, Grader, GradingPool
from posttrain.recipe import GradingSection, RewardSpec
from rewards.contract import Attempt, make_attempt

MODULE = "tests.grading.async_rewards"


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="reward ")
        yield


def attempts(*answers: str) -> list[Attempt]:
    return [make_attempt(answer, {}) for answer in answers]


def grade(batch: list[Attempt], *specs: RewardSpec, workers: int = 1, timeout_s: float = 30.0) -> list[Graded]:
    section = GradingSection(workers=workers, timeout_s=timeout_s, max_broken_share=1.0)
    with GradingPool(specs, section) as pool:
        return pool.grade_all(batch)


def reward(name: str, **spec: object) -> RewardSpec:
    return RewardSpec(use=f"{MODULE}:{name}", **spec)  # type: ignore[arg-type]


def test_functions_objects_and_trl_rewards_may_be_async_beside_those_that_are_not() -> None:
    specs = [
        reward("bad"),
        reward("Judge", args={"score": 0.5}),
        reward("for_trl", style="trl"),
        RewardSpec(use="tests.grading.bad_rewards:fine"),
    ]
    batch = attempts("a", "b", "raise", "cancel", "float")
    here, one, three = (grade(batch, *specs, workers=workers) for workers in (0, 1, 3))
    assert here == one == three
    assert [graded.reward for graded in one] == [4.5, 4.5, None, None, None]
    assert one[1].verdicts["Judge"].reason == "b"
    broken = [graded.broken["bad"] for graded in one[2:]]
    assert [verdict.cause for verdict in broken] == ["raised", "raised", "no_verdict"]
    assert broken[0].reason == "raised ZeroDivisionError: async"
    assert broken[0].trace.endswith('in bad: raise ZeroDivisionError("async")')


def test_attempts_of_a_chunk_are_judged_at_the_same_time() -> None:
    """One at a time, each would wait for the others for ever."""
    graded = grade(attempts(*map(str, range(16))), reward("together"), timeout_s=60.0)  # four chunks of four
    assert [one.reward for one in graded] == [1.0] * 16


@pytest.mark.slow
@pytest.mark.parametrize(("deed", "cause"), [("hang", "timeout"), ("block", "timeout"), ("die", "died")])
def test_one_that_hangs_blocks_the_loop_or_dies_costs_its_own_attempt_only(deed: str, cause: str) -> None:
    batch = attempts(*(f"fine {number}" for number in range(9)), deed, *(f"good {number}" for number in range(6)))
    graded = grade(batch, reward("bad"), timeout_s=2.0)
    assert graded[9].broken["bad"].cause == cause
    assert [one.reward for one in graded[:9] + graded[10:]] == [1.0] * 15


def test_grader_without_processes_waits_for_an_async_reward() -> None:
    assert Grader([reward("Judge", args={"score": 0.5})]).grade(make_attempt("x", {})).reward == 0.5
