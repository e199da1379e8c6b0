"""Rewards are summed by weight, outcomes are kept apart, and nothing is invented where nothing can be judged."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.grading import Grader, sample_record
from posttrain.recipe import RewardSpec
from rewards import Attempt, Verdict, make_attempt

ROW = {"answer": "7", "language": "en", "domain": "math"}


@dataclass(frozen=True)
class Says:
    """A reward that always says the same."""

    score: float | None = None
    outcome: bool | None = None

    def __call__(self, attempt: Attempt) -> Verdict:
        return Verdict(self.score, self.outcome, reason="it always does")


def breaks(attempt: Attempt) -> Verdict:
    raise ZeroDivisionError("the grader is broken")


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The rewards above, importable as `mine`."""
    import sys

    module = ModuleType("mine")
    module.Says, module.breaks = Says, breaks  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def says(score: float | None, outcome: bool | None = None, **spec: Any) -> RewardSpec:
    return RewardSpec(use="mine:Says", args={"score": score, "outcome": outcome}, **spec)


def named(*specs: RewardSpec) -> list[RewardSpec]:
    return [RewardSpec(**{**vars(spec), "name": spec.name or f"r{index}"}) for index, spec in enumerate(specs)]


def grade(*specs: RewardSpec, attempt: Attempt | None = None) -> Any:
    return Grader(named(*specs)).grade(attempt or make_attempt("x", ROW))


# --- the reward ---


def test_reward_is_the_weighted_sum() -> None:
    assert grade(says(1.0, weight=2.0), says(0.5, weight=0.5), says(1.0, weight=-0.25)).reward == 2.0


def test_reward_that_cannot_judge_leaves_the_sum_to_the_others() -> None:
    graded = grade(says(None), says(0.5, weight=0.5))
    assert graded.reward == 0.25
    assert graded.verdicts["r0"].score is None


def test_where_nothing_can_be_judged_there_is_no_reward() -> None:
    graded = grade(says(None), says(None))
    assert graded.reward is None
    assert graded.outcome is None


def test_reward_of_weight_zero_is_shown_and_decides_nothing() -> None:
    """A broken gold answer must not become a reward of 0 because the language could be told."""
    graded = grade(says(None), says(1.0, weight=0.0))
    assert graded.reward is None
    assert graded.verdicts["r1"].score == 1.0
    assert grade(says(0.0, False), says(1.0, weight=0.0)).reward == 0.0


# --- the outcome ---


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([None, None], None),
        ([True, None], True),
        ([False, None], False),
        ([True, True], True),
        ([True, False], False),
        ([False, True], False),
    ],
)
def test_one_no_beats_every_yes_and_silence_says_nothing(outcomes: list[bool | None], expected: bool | None) -> None:
    assert grade(*(says(0.5, outcome) for outcome in outcomes)).outcome is expected


def test_outcome_does_not_depend_on_weights() -> None:
    assert grade(says(1.0, True, weight=0.0), says(0.0, weight=5.0)).outcome is True


# --- which rows ---


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ({}, True),
        ({"domain": ["math"]}, True),
        ({"domain": ["code", "math"]}, True),
        ({"domain": ["code"]}, False),
        ({"domain": ["math"], "language": ["ko"]}, False),
        ({"domain": ["math"], "language": ["en"]}, True),
        ({"topic": ["algebra"]}, False),
        ({"topic": [None]}, True),
        ({"mode": ["non_reasoning"]}, True),
        ({"mode": ["reasoning"]}, False),
    ],
)
def test_reward_grades_the_rows_its_when_names(when: dict[str, list[Any]], applies: bool) -> None:
    graded = grade(says(1.0, when=when), says(0.5))
    assert ("r0" in graded.verdicts) is applies
    assert graded.reward == (1.5 if applies else 0.5)


def test_mode_is_the_attempts_and_not_the_rows() -> None:
    """One row is sampled in both modes."""
    attempt = make_attempt({"answer": "x", "mode": "reasoning"}, {**ROW, "mode": "non_reasoning"})
    assert grade(says(1.0, when={"mode": ["reasoning"]}), attempt=attempt).reward == 1.0


def test_reward_that_does_not_apply_is_not_run() -> None:
    assert grade(RewardSpec(use="mine:breaks", when={"domain": ["code"]}), says(1.0)).reward == 1.0


# --- rewards of the house ---


def test_real_rewards_grade_a_real_answer() -> None:
    specs = [
        RewardSpec(use="rewards.math_answer:math_answer"),
        RewardSpec(use="rewards.language:language", weight=0.5),
        RewardSpec(use="rewards.format_tags:format_tags", weight=0.25),
    ]
    grader = Grader(specs)
    assert grader.names == ["math_answer", "language", "format_tags"]
    right = grader.grade(make_attempt({"thinking": "t", "answer": r"The answer is \boxed{7}."}, ROW))
    assert (right.reward, right.outcome) == (1.75, True)
    wrong = grader.grade(make_attempt({"thinking": "t", "answer": r"La respuesta es \boxed{8}."}, ROW))
    assert (wrong.reward, wrong.outcome) == (0.25, False)
    no_gold = grader.grade(make_attempt({"thinking": "t", "answer": r"The answer is \boxed{7}."}, {"language": "en"}))
    assert (no_gold.reward, no_gold.outcome) == (0.75, None)


# --- errors ---


def test_broken_grader_flies() -> None:
    with pytest.raises(ZeroDivisionError, match="the grader is broken"):
        grade(RewardSpec(use="mine:breaks"), says(1.0))


def test_two_rewards_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"two rewards share a name in \['Says', 'Says'\]; give one of them another"):
        Grader([says(1.0), says(0.0)])
    assert Grader([says(1.0), says(0.0, name="other")]).names == ["Says", "other"]


def test_reward_that_cannot_be_loaded_is_named_by_its_place() -> None:
    with pytest.raises(UserError, match=r"rewards\.1\.use"):
        Grader([says(1.0), RewardSpec(use="rewards.math_answer:math_anser")])


# --- rewards written for TRL ---


def trl(function: Callable[..., Any], plugins: ModuleType, **spec: Any) -> RewardSpec:
    plugins.function = function  # type: ignore[attr-defined]
    return RewardSpec(use="mine:function", style="trl", **spec)


def test_trl_reward_gets_a_batch_of_one_with_the_rows_columns(plugins: ModuleType) -> None:
    seen: dict[str, Any] = {}

    def function(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        seen.update(prompts=prompts, completions=completions, **columns)
        return [0.5]

    attempt = make_attempt({"answer": "seven", "thinking": "hidden"}, ROW)
    graded = grade(trl(function, plugins, weight=2.0), attempt=attempt)
    assert graded.reward == 1.0
    assert graded.outcome is None
    assert seen == {
        "prompts": [attempt.prompt],
        "completions": [[{"role": "assistant", "content": "seven"}]],
        "answer": ["7"],
        "language": ["en"],
        "domain": ["math"],
    }


@pytest.mark.parametrize(("score", "reward"), [(-3.5, -7.0), (0, 0.0), (12.0, 24.0), (None, None)])
def test_trl_score_may_be_any_finite_number_or_none(
    plugins: ModuleType, score: float | None, reward: float | None
) -> None:
    assert grade(trl(lambda **_: [score], plugins, weight=2.0)).reward == reward


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_trl_score_that_is_no_number_is_the_graders_fault(plugins: ModuleType, score: float) -> None:
    with pytest.raises(ValueError, match="a score is a finite number or None"):
        grade(trl(lambda **_: [score], plugins))


@pytest.mark.parametrize("scores", [[], [1.0, 0.0]])
def test_trl_reward_must_return_one_score(plugins: ModuleType, scores: list[float]) -> None:
    with pytest.raises(ValueError, match=f"returned {len(scores)} scores for one completion"):
        grade(trl(lambda **_: scores, plugins))


def test_rewards_of_our_own_style_stay_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="a score is a number from 0 to 1"):
        grade(says(-0.5))


# --- the record ---


def test_record_of_a_sample_has_the_columns_of_samples_jsonl() -> None:
    attempt = make_attempt({"answer": "a", "thinking": "t", "num_tokens": 9, "num_thinking_tokens": 4}, ROW)
    graded = grade(says(1.0, True), attempt=attempt)
    assert sample_record(attempt, graded, stage="rl", step=3, group_type="mixed", advantage=-0.5) == {
        "stage": "rl",
        "step": 3,
        "mode": "reasoning",
        "language": "en",
        "prompt": [{"role": "user", "content": "?"}],
        "thinking": "t",
        "answer": "a",
        "is_truncated": False,
        "num_tokens": 9,
        "num_thinking_tokens": 4,
        "reward": 1.0,
        "outcome": True,
        "verdicts": {"r0": {"score": 1.0, "outcome": True, "extracted": None, "reason": "it always does"}},
        "group_type": "mixed",
        "advantage": -0.5,
    }
