"""Rows whose gold answer fails its own grader are found and named before anything is trained on them."""

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.grading import gold
from posttrain.grading.gold import check_gold, require_gold
from posttrain.recipe import GradingSection, RewardSpec
from rewards.contract import Attempt, Verdict, gold_answer_of
from rewards.math_answer import math_answer

HERE = GradingSection(workers=0)
MATH = RewardSpec(use="rewards.math_answer:math_answer", when={"domain": ["math"]})


def row(answer: object = "7", domain: str = "math", **columns: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "?"}]
    return {"messages": messages, "mode": "reasoning", "answer": answer, "domain": domain, **columns}


class Picky:
    """Takes no answer but "yes", says nothing of "maybe" and breaks at "break"."""

    def __call__(self, attempt: Attempt) -> Verdict:
        if attempt.answer == "break":
            raise ZeroDivisionError
        if attempt.answer == "maybe":
            return Verdict(0.5, reason="who knows")
        is_yes = attempt.answer == "yes"
        return Verdict(float(is_yes), outcome=is_yes, reason="" if is_yes else "not yes")

    def gold_answer(self, row: Mapping[str, Any]) -> Any:
        if row["answer"] == "raise":
            raise KeyError("nothing")
        return row["answer"]


@pytest.fixture(autouse=True)
def picky(monkeypatch: pytest.MonkeyPatch) -> RewardSpec:
    module = ModuleType("mine")
    module.Picky = Picky  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", module)
    return RewardSpec(use="mine:Picky")


def test_gold_answer_is_the_rewards_own_or_that_of_its_module() -> None:
    assert gold_answer_of(math_answer, {"answer": r"\frac{1}{2}"}) == r"\boxed{\frac{1}{2}}"
    assert gold_answer_of(math_answer, {}) is None
    assert gold_answer_of(Picky(), {"answer": "yes"}) == "yes"
    assert gold_answer_of(lambda _: Verdict(1.0), {"answer": "yes"}) is None


def test_gold_that_passes_is_counted_by_the_rewards_that_declare_one() -> None:
    rows = [row(), row("8"), row(7), row("no matter", domain="code")]
    format_tags = RewardSpec(use="rewards.format_tags:format_tags")
    report = require_gold(rows, [MATH, format_tags], HERE)
    assert str(report) == (
        "math_answer: 2 right, 1 cannot be judged (row 2: row['answer'] is int, need a string); "
        "not checked: format_tags"
    )


def test_each_reward_is_asked_about_its_own_gold_alone(picky: RewardSpec) -> None:
    """`\\boxed{yes}` would be wrong to the one, `yes` without a box to the other."""
    report = check_gold([row("yes")], [MATH, picky], HERE)
    assert report.tallies == {"math_answer": {"right": 1}, "Picky": {"right": 1}}


def test_rows_that_fail_are_named_with_their_gold_and_the_reason(picky: RewardSpec) -> None:
    rows = [row("yes"), *(row(f"no {number}") for number in range(5))]
    with pytest.raises(UserError) as refusal:
        require_gold(rows, [picky], HERE)
    message = str(refusal.value)
    assert message.startswith("the gold answers of 5 of 6 rows fail their own grader: row 1: Picky says of the gold")
    assert "row 3: Picky says of the gold answer 'no 2': not yes; ...; mend these rows" in message
    assert "row 4" not in message
    assert "check_gold=false" in message


def test_row_without_gold_and_grader_that_breaks_are_no_failure_of_the_row(picky: RewardSpec) -> None:
    rows = [row("yes"), row(None), row("break"), row("maybe"), *[row("yes")] * 20]
    with pytest.warns(UserWarning, match="reward 'Picky' raised ZeroDivisionError"):
        report = require_gold(rows, [picky], HERE)
    assert report.tallies["Picky"] == {
        "right": 21,
        "without a gold answer": 1,
        "broke": 1,
        "without an outcome": 1,
    }


def test_too_many_rows_without_a_readable_gold_are_refused_with_their_place_and_the_reason() -> None:
    rows = [row(), row(7), *[row()] * 18, row(None)]
    assert require_gold(rows, [MATH], HERE).tallies == {"math_answer": {"right": 19, "cannot be judged": 2}}
    assert require_gold(rows[:12], [MATH], HERE, max_unjudged_share=0.05)  # as one of 20, the fewest that count
    with pytest.raises(UserError) as refusal:
        require_gold(rows, [MATH], HERE, "rows.jsonl:{}".format, max_unjudged_share=0.05)
    said = str(refusal.value)
    assert said.startswith("2 of 21 rows cannot be judged, more than 5%: rows.jsonl:1: row['answer'] is int, need")
    assert "rows.jsonl:20: " in said


def test_a_row_that_another_reward_can_judge_is_not_lost(picky: RewardSpec) -> None:
    rows = [row("yes") | {"answer": None}] * 5
    with pytest.raises(UserError, match="5 of 5 rows cannot be judged"):
        require_gold(rows, [MATH], HERE, max_unjudged_share=0.05)
    assert require_gold(rows, [MATH, picky], HERE, max_unjudged_share=0.05).judged == set(range(5))


@pytest.mark.parametrize(("answer", "words"), [("raise", "raised KeyError"), (7, "returned int at row 1; need text")])
def test_gold_answer_that_breaks_is_named(picky: RewardSpec, answer: object, words: str) -> None:
    with pytest.raises(UserError, match=f"gold_answer of Picky {words}"):
        check_gold([row("yes"), row(answer)], [picky], HERE)


def test_long_check_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gold, "_SECONDS_OF_SILENCE", -1.0)
    monkeypatch.setattr(gold, "_ROWS_AT_A_TIME", 2)
    check_gold([row(str(number)) for number in range(3)], [MATH], HERE)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "gold answers: math_answer has graded 2 of 3 rows",
        "gold answers: math_answer has graded 3 of 3 rows",
    ]
