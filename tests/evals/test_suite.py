from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.evals.suite import Question, load_suite
from posttrain.grading import Grader
from posttrain.recipe import BenchmarkSpec, DataSection, Decoding, EvalRecipe, ModelSection, RewardSpec, Source
from rewards import make_attempt

DIRECT = Decoding(name="direct", mode="non_reasoning", temperature=0, max_new_tokens=8)
MATH = RewardSpec(use="rewards.math_answer:math_answer")


def recipe(*benchmarks: BenchmarkSpec, **more: Any) -> EvalRecipe:
    return EvalRecipe(
        run="r", label="l", model=ModelSection(path="m"), decodings=[DIRECT], benchmarks=list(benchmarks), **more
    )


def demo(name: str | None = None, *rewards: RewardSpec, seed: int = 0) -> BenchmarkSpec:
    return BenchmarkSpec(use="demo", name=name, args={"size": 2, "seed": seed}, rewards=list(rewards))


def test_benchmarks_share_a_reward_and_keep_to_their_own(demo_files: dict[str, Path], tokenizer: Any) -> None:
    data = DataSection(sources=[Source(path=str(demo_files["test"]))])
    suite = load_suite(recipe(demo(), BenchmarkSpec(use="language"), data=data, rewards=[MATH]), tokenizer)
    assert suite.sizes == {"data": 30, "demo": 2, "language": 24}
    assert {spec.name: spec.when for spec in suite.rewards} == {
        "math_answer": {"benchmark": ["data", "demo"]},
        "language": {"benchmark": ["demo", "language"]},
    }
    assert [str(file) for file in suite.files] == [str(demo_files["test"])]
    grader = Grader(suite.rewards)
    for question in suite.questions:
        names = [reward.name for reward in grader.rewards_for(make_attempt("7", question.row))]
        assert (
            names
            == {"data": ["math_answer"], "demo": ["math_answer", "language"], "language": ["language"]}[
                question.benchmark
            ]
        )


def test_rewards_of_one_name_and_other_settings_are_told_apart(tokenizer: Any) -> None:
    heavy = RewardSpec(use="rewards.format_tags:format_tags", weight=2.0)
    light = RewardSpec(use="rewards.format_tags:format_tags", weight=0.0)
    suite = load_suite(recipe(demo("one", heavy), demo("two", light)), tokenizer)
    assert [spec.name for spec in suite.rewards] == ["math_answer", "language", "format_tags", "format_tags (two)"]


def test_two_benchmarks_of_one_name_are_refused(tokenizer: Any) -> None:
    with pytest.raises(
        UserError, match=r"benchmarks.1: two benchmarks are named 'demo'; give one of them another `name`"
    ):
        load_suite(recipe(demo(), demo(seed=1)), tokenizer)


def question(**row: Any) -> str:
    return Question(
        "sums", 0, {"messages": [{"role": "user", "content": "4+7?"}], "answer": "11", **row}, {}
    ).fingerprint


def test_fingerprint_is_that_of_the_question_and_its_gold_in_any_mode_and_benchmark() -> None:
    assert question() == question(mode="reasoning", benchmark="x") == question(mode="non_reasoning")
    assert len({question(), question(answer="12"), question(tools=[{"name": "t"}])}) == 3
