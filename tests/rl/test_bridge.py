import json
from typing import Any

import pytest

from posttrain.grading import GradingPool
from posttrain.recipe import GradingSection, RewardSpec
from posttrain.rl.bridge import RewardBridge
from rewards.contract import Attempt, Verdict

EOS = 2


class Letters:
    """A tokenizer whose tokens are letters: 10 is "a"; 0 pads, 2 ends a turn."""

    eos_token_id, pad_token_id, unk_token_id = EOS, 0, None

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(chr(ord("a") + token - 10) for token in ids)

    def convert_tokens_to_ids(self, token: str) -> None:
        return None

    def apply_chat_template(self, messages: list[dict[str, str]], **settings: Any) -> str:
        return messages[-1]["content"]


calls: list[str] = []


def starts_with_gold(attempt: Attempt) -> Verdict:
    calls.append(attempt.answer)
    if attempt.row["answer"] is None:
        return Verdict(score=None, reason="no gold")
    is_right = attempt.answer.startswith(attempt.row["answer"])
    return Verdict(score=float(is_right), outcome=is_right, reason="gold")


def short(attempt: Attempt) -> Verdict:
    return Verdict(score=1.0 if attempt.num_tokens < 3 else 0.5, reason="length")


def columns(rows: list[dict[str, Any]]) -> list[str]:
    return [json.dumps({"messages": [], "mode": "non_reasoning", **row}) for row in rows]


GOLD = RewardSpec(use=f"{__name__}:starts_with_gold")
SHORT = RewardSpec(use=f"{__name__}:short", when={"domain": ["math"]})


def bridge(*specs: RewardSpec, workers: int = 0) -> RewardBridge:
    section = GradingSection(workers=workers)
    return RewardBridge(GradingPool(specs or (GOLD, SHORT), section), Letters(), [EOS])


def test_each_reward_is_a_column_and_the_outcome_is_the_last() -> None:
    functions = bridge().functions()
    assert [function.__name__ for function in functions] == ["starts_with_gold", "short", "outcome"]
    ids = [[10, EOS], [11, 11, EOS]]
    rows = columns([{"answer": "a", "domain": "math"}, {"answer": "a", "domain": "other"}])
    assert [function(completion_ids=ids, row=rows) for function in functions] == [[1.0, 0.0], [1.0, None], [1.0, 0.0]]


def test_a_batch_is_graded_once_and_the_next_one_anew() -> None:
    calls.clear()
    grader = bridge()
    first, second = [[10, EOS]], [[11, EOS]]
    for ids in (first, second):
        for function in grader.functions():
            function(completion_ids=ids, row=columns([{"answer": "a"}]))
    assert calls == ["a", "b"]


def test_a_row_without_gold_reaches_trl_as_none_and_not_as_zero() -> None:
    functions = bridge().functions()
    values = [function(completion_ids=[[10, EOS]], row=columns([{"answer": None}])) for function in functions]
    assert values == [[None], [None], [None]]


def test_a_completion_without_the_end_of_turn_is_truncated() -> None:
    grader = bridge()
    grader.functions()[0](completion_ids=[[10, EOS], [10, 10], []], row=columns([{"answer": "a"}] * 3))
    assert [sample.attempt.is_truncated for sample in grader.take()] == [False, True, True]


def test_samples_of_all_batches_since_the_last_time_are_handed_over_once() -> None:
    grader = bridge()
    for ids in ([[10, EOS]], [[11, EOS]]):  # as where a step is refilled
        grader.functions()[0](completion_ids=ids, row=columns([{"answer": "a"}]))
    assert [sample.attempt.answer for sample in grader.take()] == ["a", "b"]
    assert grader.take() == []


def test_rewards_outcomes_and_lengths_are_logged_by_domain_and_language() -> None:
    logged: dict[str, list[float]] = {}
    rows = columns(
        [
            {"answer": "a", "domain": "math", "language": "ko"},
            {"answer": "a", "domain": "math", "language": "es"},
            {"answer": None, "language": "es"},
        ]
    )
    ids = [[10, EOS], [11, 11, EOS], [10, 10, 10, 10]]
    for function in bridge().functions():
        function(completion_ids=ids, row=rows, log_metric=lambda name, value: logged.setdefault(name, []).append(value))
    assert logged["outcome/domain/math"] == [1.0, 0.0]
    assert logged["outcome/language/es"] == [0.0]  # the row without a gold answer has no outcome
    assert logged["reward/language/ko"] == [2.0]
    assert logged["length/answer"] == [2, 3, 4]
    assert logged["length/truncated"] == [0.0, 0.0, 1.0]
    assert logged["samples/broken"] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("workers", [0, 1])
def test_sample_whose_grader_broke_is_unscorable_to_the_trainer_and_counted(workers: int) -> None:
    """The trainer sums what scores there are, where one that is missing would be a 0, and goes by the outcome."""
    logged: dict[str, list[float]] = {}
    rows = columns([{"answer": "a", "domain": "math"}] * 2)
    specs = [RewardSpec(use=f"tests.grading.bad_rewards:{name}", weight=0.1) for name in ("bad", "breaks_at_b", "fine")]
    functions, ids = bridge(*specs, workers=workers).functions(), [[10, EOS], [11, EOS]]
    with pytest.warns(UserWarning, match="reward 'breaks_at_b' raised ZeroDivisionError: b"):
        values = [
            function(
                completion_ids=ids, row=rows, log_metric=lambda name, value: logged.setdefault(name, []).append(value)
            )
            for function in functions
        ]
    assert values == [[1.0, 1.0], [1.0, None], [0.5, 0.5], [1.0, None]]
    assert logged["samples/broken"] == [0.0, 1.0]
    assert logged["samples/broken/raised"] == [0.0, 1.0]
    assert logged["samples/broken/timeout"] == [0.0, 0.0]
    assert logged["reward/domain/math"] == [0.25]
