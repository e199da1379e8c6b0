"""Attempts that look the same to a reward are graded by it once; every attempt has its verdict and its count."""

import itertools
import warnings
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.grading import Graded, Grader, GradingPool
from posttrain.recipe import GradingSection, RewardSpec
from rewards.contract import Attempt, Verdict, make_attempt

_calls = itertools.count(1)


def counts(attempt: Attempt) -> Verdict:
    """Says the how-many-eth call of this process it is."""
    return Verdict(1.0, reason=str(next(_calls)))


class SeesTheAnswer:
    SEES = ("answer", "row")

    def __call__(self, attempt: Attempt) -> Verdict:
        if attempt.answer == "break":
            raise ZeroDivisionError
        return Verdict(1.0, reason=f"{next(_calls)} {attempt.thinking} {attempt.num_tokens} {attempt.prompt}")


class SeesWhatIsNot:
    SEES = ("anwser",)

    def __call__(self, attempt: Attempt) -> Verdict:
        return Verdict(1.0)


def grade(batch: list[Attempt], reward: str) -> tuple[list[Graded], GradingPool]:
    section = GradingSection(workers=1, max_broken_share=1.0)
    with GradingPool([RewardSpec(use=f"{__name__}:{reward}", name="r")], section) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="reward ")
        return pool.grade_all(batch), pool


def reasons(batch: list[Attempt], reward: str) -> list[str]:
    return [graded.verdicts["r"].reason for graded in grade(batch, reward)[0]]


def in_one_chunk(*some: Attempt) -> list[Attempt]:
    """A chunk is a quarter of the batch here."""
    fill = [make_attempt(f"fill {number}", {}) for number in range(3 * len(some))]
    return [*some, *fill]


def attempt(answer: str = "a", row: Any = None, **fields: Any) -> Attempt:
    return make_attempt({"answer": answer, **fields}, row or {"answer": "7"})


def test_equal_attempts_are_graded_once_and_others_are_not() -> None:
    batch = in_one_chunk(attempt(), attempt("b"), attempt(), attempt(thinking="t"), attempt(row={"answer": "8"}))
    assert reasons(batch, "counts")[:5] == ["1", "2", "1", "3", "4"]


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0.0, -0.0)])
def test_rows_whose_values_only_compare_equal_are_not_the_same(one: object, other: object) -> None:
    batch = in_one_chunk(attempt(row={"n": one}), attempt(row={"n": other}))
    assert reasons(batch, "counts")[:2] == ["1", "2"]


def test_reward_that_sees_the_answer_alone_is_shown_no_more_and_shares_its_verdict() -> None:
    batch = in_one_chunk(attempt(thinking="s", num_tokens=9), attempt(thinking="t"), attempt("b"))
    assert reasons(batch, "SeesTheAnswer")[:3] == ["1 None 0 []", "1 None 0 []", "2 None 0 []"]


def test_every_attempt_at_which_a_shared_reward_broke_is_counted() -> None:
    graded, pool = grade(in_one_chunk(*[attempt("break")] * 3, attempt("b")), "SeesTheAnswer")
    assert pool.broken == {"r": {"raised": 3}}
    assert [one.reward for one in graded[:4]] == [None, None, None, 1.0]


def test_sees_must_name_fields_of_an_attempt() -> None:
    with pytest.raises(UserError, match=r"rewards\.0\.use: .*SEES is \('anwser',\); need names of fields of Attempt"):
        Grader([RewardSpec(use=f"{__name__}:SeesWhatIsNot")])
