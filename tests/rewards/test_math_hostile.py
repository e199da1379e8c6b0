"""Answers that hang or crash careless graders: here each is wrong, soon, in this process and in a grading worker."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from posttrain.grading import GradingPool
from posttrain.recipe import GradingSection, RewardSpec
from rewards import make_attempt
from rewards._symbolic import TIME_LIMIT_S
from rewards.math_answer import math_answer
from tests.rewards.hostile_answers import FORMULA, GOLDS, HOSTILE


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_to_golds_that_are_no_formulas_need_no_time_limit(text: str) -> None:
    for gold in GOLDS:
        started = time.process_time()
        verdict = math_answer(make_attempt(rf"\boxed{{{text}}}", {"answer": gold}))
        assert time.process_time() - started < TIME_LIMIT_S
        assert verdict.outcome is False, gold


@pytest.mark.slow
def test_hostile_answers_to_a_formula_end_within_the_time_limit_of_a_worker() -> None:
    """The signal works there, since a worker runs its rewards in the main thread; nobody has to be killed."""
    attempts = [make_attempt(rf"\boxed{{{text}}}", {"answer": FORMULA}) for text in HOSTILE]
    section = GradingSection(workers=2, timeout_s=300.0, max_broken_share=1.0)
    with GradingPool([RewardSpec(use="rewards.math_answer:math_answer")], section) as pool:
        graded = pool.grade_all(attempts)
        assert not pool.broken
    assert [one.outcome for one in graded] == [False] * len(HOSTILE)
    assert f"not decided in {TIME_LIMIT_S} s" in {one.verdicts["math_answer"].reason for one in graded}


def test_no_formula_is_compared_without_a_limit_in_another_thread() -> None:
    attempts = [make_attempt(rf"\boxed{{{text}}}", {"answer": FORMULA}) for text in HOSTILE]
    started = time.process_time()
    with ThreadPoolExecutor(max_workers=1) as pool:
        verdicts = list(pool.map(math_answer, attempts))
    assert time.process_time() - started < TIME_LIMIT_S
    assert not any(verdict.score for verdict in verdicts)
    assert any("needs a time limit" in verdict.reason for verdict in verdicts)
