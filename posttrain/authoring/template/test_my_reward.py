import pickle
from typing import Any

import pytest

import rewards
from posttrain.authoring.template.my_reward import CASES, EXAMPLE, gold_answer


@pytest.mark.parametrize(("fields", "row", "score"), CASES)
def test_case_gets_its_score_with_a_reason(fields: Any, row: dict[str, Any], score: float | None) -> None:
    verdict = EXAMPLE(rewards.make_attempt(fields, row))
    assert verdict.score == score
    assert verdict.reason or score == 1.0


@pytest.mark.parametrize(("fields", "row", "score"), CASES)
def test_gold_passes_and_an_empty_answer_does_not(fields: Any, row: dict[str, Any], score: float | None) -> None:
    gold = gold_answer(row)
    if score is not None and gold is not None:
        assert EXAMPLE(rewards.make_attempt(gold, row)).outcome is True
    assert not EXAMPLE(rewards.make_attempt("", row)).score


@pytest.mark.parametrize("text", ["\x00", "\ud800", "9" * 10_000, "{" * 10_000, "가" * 10_000])
def test_hostile_text_is_wrong_and_does_not_raise(text: str) -> None:
    assert not EXAMPLE(rewards.make_attempt(text, {"answer": "12"})).outcome


def test_reward_can_be_sent_to_a_worker() -> None:
    assert pickle.loads(pickle.dumps(EXAMPLE)) == EXAMPLE
