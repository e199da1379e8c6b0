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


def reason_of(spec: RewardSpec) -> str:
    """Why the only reward broke."""
    return grade(spec).broken["r0"].reason  # type: ignore[no-any-return]


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


# --- rewards that break ---


def test_reward_that_raises_has_no_score_and_says_why_and_where() -> None:
    broken = grade(RewardSpec(use="mine:breaks"), says(1.0)).verdicts["r0"]
    assert (broken.score, broken.outcome) == (None, None)
    assert broken.reason == "raised ZeroDivisionError: the grader is broken"
    assert broken.trace.startswith(f"{__file__}:")
    assert broken.trace.endswith('in breaks: raise ZeroDivisionError("the grader is broken")')


def test_attempt_at_which_a_weighted_reward_broke_has_no_reward() -> None:
    """0.5 alone would read as if the broken one had said 0."""
    graded = grade(RewardSpec(use="mine:breaks"), says(0.5))
    assert graded.reward is None
    assert graded.verdicts["r1"].score == 0.5
    assert list(graded.broken) == ["r0"]


def test_reward_of_weight_zero_breaks_nothing_but_itself() -> None:
    graded = grade(RewardSpec(use="mine:breaks", weight=0.0), says(1.0, True))
    assert (graded.reward, graded.outcome, list(graded.broken)) == (1.0, True, ["r0"])


@pytest.mark.parametrize("others", [None, True, False])
def test_broken_reward_has_no_voice_in_the_outcome(others: bool | None) -> None:
    assert grade(RewardSpec(use="mine:breaks"), says(1.0, others)).outcome is others


def test_long_and_odd_error_becomes_a_short_line_that_can_be_written(plugins: ModuleType) -> None:
    def function(attempt: Attempt) -> Verdict:
        raise KeyError("a\n" + "\ud800" * 10_000)

    plugins.function = function  # type: ignore[attr-defined]
    reason = grade(RewardSpec(use="mine:function")).verdicts["r0"].reason
    assert len(reason) == 300
    assert "\n" not in reason
    assert reason.encode().decode() == reason


def test_interruption_is_no_broken_reward(plugins: ModuleType) -> None:
    def function(attempt: Attempt) -> Verdict:
        raise KeyboardInterrupt

    plugins.function = function  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        grade(RewardSpec(use="mine:function"))


# --- errors ---


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
    assert "a score is a finite number or None" in reason_of(trl(lambda **_: [score], plugins))


@pytest.mark.parametrize("scores", [[], [1.0, 0.0]])
def test_trl_reward_must_return_one_score(plugins: ModuleType, scores: list[float]) -> None:
    assert f"returned {len(scores)} scores for one completion" in reason_of(trl(lambda **_: scores, plugins))


def test_trl_reward_with_a_default_for_what_only_trl_has_works_as_it_is(plugins: ModuleType) -> None:
    def function(completions: Any, trainer_state: Any = None, log_metric: Any = None, **columns: Any) -> list[float]:
        return [1.0 if trainer_state is log_metric is None and "completion_ids" not in columns else 0.0]

    attempt = make_attempt("x", {**ROW, "completion_ids": [1], "completion": "gold"})
    assert grade(trl(function, plugins), attempt=attempt).reward == 1.0


def test_trl_reward_that_needs_what_only_trl_has_is_refused_by_name(plugins: ModuleType) -> None:
    def function(completion_ids: Any, log_metric: Any, trainer_state: Any = None, **_: Any) -> list[float]:
        return [float(len(ids)) for ids in completion_ids]

    with pytest.raises(
        UserError, match=r"rewards\.0\.use: mine:function: .*needs completion_ids, log_metric, which only"
    ):
        Grader([trl(function, plugins)])


def test_names_that_only_trl_has_are_all_that_its_trainer_adds() -> None:
    """A tripwire: what TRL 1.16 puts beside prompts, completions and the row's columns."""
    import inspect
    import re

    from trl import GRPOTrainer

    from posttrain.grading.trl_style import ONLY_IN_TRL

    source = inspect.getsource(GRPOTrainer._calculate_rewards)
    added = set(re.findall(r'(?<!row_)reward_kwargs\["(\w+)"\] =', source)) | set(
        re.findall(r"(\w+)=completion_ids_list", source)
    )
    assert added == set(ONLY_IN_TRL)


def test_rewards_of_our_own_style_stay_between_0_and_1() -> None:
    assert "a score is a number from 0 to 1" in reason_of(says(-0.5))


# --- the record ---


def test_record_of_a_sample_has_the_columns_of_samples_jsonl() -> None:
    attempt = make_attempt({"answer": "a", "thinking": "t", "num_tokens": 9, "num_thinking_tokens": 4}, ROW)
    graded = grade(says(1.0, True), attempt=attempt)
    assert sample_record(attempt, graded, stage="rl", step=3, group_type="mixed", advantage=-0.5) == {
        "stage": "rl",
        "step": 3,
        "mode": "reasoning",
        "language": "en",
        "domain": "math",
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
