from typing import Any

import pytest

from posttrain.evals.intervals import share_interval
from posttrain.evals.metrics import is_in_mode, measure, measure_benchmarks, measure_groups, thinks
from posttrain.grading import Graded, sample_record
from rewards.contract import Verdict, make_attempt


def answer(
    question: int = 0,
    *,
    outcome: bool | None = True,
    language: float | None = None,
    extracted: str | None = None,
    row: dict[str, Any] | None = None,
    cell: dict[str, Any] | None = None,
    benchmark: str = "sums",
    **fields: Any,
) -> dict[str, Any]:
    verdicts = {"sum": Verdict(None if outcome is None else float(outcome), outcome, extracted)}
    if language is not None:
        verdicts["language"] = Verdict(language)
    attempt = make_attempt({"answer": "7"} | fields, row or {})
    measured = {
        "is_in_mode": is_in_mode(attempt),
        "thinks": thinks(attempt),
        "is_looping": False,
        "budget_reached": False,
    }
    graded = Graded(None, outcome, verdicts)
    where = {"benchmark": benchmark, "question": question, "cell": cell or {}}
    return sample_record(attempt, graded, stage="eval", step=0, **where, **measured)


def test_answers_that_nobody_can_judge_leave_accuracy_and_are_counted() -> None:
    metrics = measure([answer(0), answer(1, outcome=False), answer(2, outcome=None)])
    assert metrics["accuracy"] == share_interval([[1], [0]])._asdict()
    assert (metrics["n"], metrics["unscorable"]) == (3, 1)


def test_without_one_scorable_answer_there_is_no_accuracy() -> None:
    metrics = measure([answer(outcome=None)])
    assert metrics["accuracy"] is None
    assert metrics["truncated"]["mean"] == 0


def test_samples_of_one_question_are_one_cluster() -> None:
    answers = [answer(0), answer(0), answer(1, outcome=False), answer(1, outcome=False)]
    assert measure(answers)["accuracy"] == share_interval([[1], [0]])._asdict()


def test_tokens_outside_the_thinking_are_the_answers() -> None:
    answers = [
        answer(0, thinking="a", num_tokens=10, num_thinking_tokens=6),
        answer(1, thinking="a", num_tokens=12, num_thinking_tokens=10),
    ]
    metrics = measure(answers)
    assert metrics["thinking_tokens"]["mean"] == 8
    assert metrics["answer_tokens"]["mean"] == 3


def test_language_consistency_is_over_the_answers_that_could_be_judged() -> None:
    unjudged = answer(2)
    unjudged["verdicts"]["language"] = {"score": None, "outcome": None, "extracted": None, "reason": "no words"}
    metrics = measure([answer(0, language=1.0), answer(1, language=0.0), unjudged])
    assert metrics["language_consistency"] == share_interval([[1], [0]])._asdict()


def test_language_consistency_is_left_open_without_that_reward() -> None:
    assert measure([answer()])["language_consistency"] is None


def test_truncated_is_a_share() -> None:
    assert measure([answer(0, is_truncated=True), answer(1)])["truncated"]["mean"] == 0.5


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"mode": "reasoning", "thinking": "2+2", "answer": "4"}, True),
        ({"mode": "reasoning", "thinking": "2+2", "answer": "The answer is", "is_truncated": True}, True),
        ({"mode": "reasoning", "thinking": "2+2 and so on", "answer": "", "is_truncated": True}, False),
        ({"mode": "reasoning", "thinking": "2+2 and so on", "answer": ""}, False),  # ended without closing
        ({"mode": "reasoning", "thinking": "", "answer": "4"}, False),
        ({"mode": "reasoning", "thinking": " \n", "answer": "4"}, False),
        ({"mode": "reasoning", "thinking": None, "answer": "4"}, False),
        ({"mode": "non_reasoning", "thinking": None, "answer": "4"}, True),
        ({"mode": "non_reasoning", "thinking": None, "answer": "", "is_truncated": True}, True),
        ({"mode": "non_reasoning", "thinking": " ", "answer": "4"}, True),
        ({"mode": "non_reasoning", "thinking": "2+2", "answer": "4"}, False),
    ],
)
def test_mode_is_kept_by_thinking_where_it_is_asked_for_and_only_there(fields: dict[str, Any], expected: bool) -> None:
    assert is_in_mode(make_attempt(fields, {})) is expected


def test_groups_are_all_answers_and_each_language_in_the_order_of_the_rows() -> None:
    rows = [{"language": "ko"}, {"language": "en"}, {"language": None}, {}, {"language": "ko"}]
    groups = measure_groups([answer(number, outcome=number == 0, row=row) for number, row in enumerate(rows)])
    assert {name: metrics["n"] for name, metrics in groups.items()} == {"all": 5, "ko": 2, "en": 1}
    assert list(groups) == ["all", "ko", "en"]
    assert [groups[name]["accuracy"]["mean"] for name in groups] == [0.2, 0.5, 0.0]


def test_domains_are_groups_behind_the_languages_and_apart_from_them() -> None:
    rows = [{"language": "en", "domain": "math"}, {"domain": "en"}, {"domain": "math"}]
    groups = measure_groups([answer(number, outcome=number == 0, row=row) for number, row in enumerate(rows)])
    assert {name: metrics["n"] for name, metrics in groups.items()} == {
        "all": 3,
        "en": 1,
        "domain/math": 2,
        "domain/en": 1,
    }
    assert groups["domain/math"]["accuracy"]["mean"] == 0.5


def test_samples_give_pass_at_k_and_the_majority_over_questions() -> None:
    # First question: 1 of 4 right, and 7 is said once, 8 three times. Second: 3 of 4 right, 7 has the majority.
    first = [answer(0, outcome=right, extracted="7" if right else "8") for right in (True, False, False, False)]
    second = [answer(1, outcome=right, extracted="7" if right else "8") for right in (True, True, True, False)]
    metrics = measure(first + second)
    assert {k: rate["mean"] for k, rate in metrics["pass_at"].items()} == {"1": 0.5, "2": 0.75, "4": 1.0}
    assert metrics["majority"]["mean"] == 0.5


def test_one_sample_a_question_has_neither_pass_at_k_nor_majority() -> None:
    assert not {"pass_at", "majority"} & measure([answer(0), answer(1)]).keys()


def test_majority_is_left_open_where_right_answers_were_not_extracted() -> None:
    assert measure([answer(0), answer(0)])["majority"] is None


def test_benchmarks_are_measured_apart_and_by_cell() -> None:
    cells = [{"length": 8, "depth": 0.0}, {"length": 8, "depth": 1.0}]
    answers = [answer(number, outcome=number == 0, cell=cell, benchmark="hay") for number, cell in enumerate(cells)]
    measured = measure_benchmarks([*answers, answer(0)])
    assert list(measured) == ["hay", "sums"]
    assert measured["hay"]["groups"]["all"]["accuracy"]["mean"] == 0.5
    assert [(cell["length"], cell["depth"], cell["accuracy"]["mean"]) for cell in measured["hay"]["cells"]] == [
        (8, 0.0, 1.0),
        (8, 1.0, 0.0),
    ]
    assert measured["sums"]["cells"] == []


def test_questions_of_two_benchmarks_are_two_even_under_one_number() -> None:
    metrics = measure([answer(0), answer(0, outcome=False, benchmark="hay")])
    assert metrics["questions"] == 2
    assert metrics["accuracy"] == share_interval([[1], [0]])._asdict()
