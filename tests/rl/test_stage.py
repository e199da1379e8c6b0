"""What the recipe says reaches the trainer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.recipe import RewardSpec, RLRecipe, load_recipe
from posttrain.recipe.sections import DataSection, ModelSection, RefillSection, Source
from posttrain.rl.stage import check_gold, check_lengths, describe, run_stage, training_arguments


def recipe(**changes: Any) -> RLRecipe:
    settings: dict[str, Any] = {
        "run": "run",
        "model": ModelSection(path="model"),
        "data": DataSection(sources=[Source(path="rows.jsonl")]),
        "rewards": [RewardSpec(use="rewards.math_answer:math_answer")],
        "engine": "transformers",
        "trainer": {"per_device_train_batch_size": 8},
    }
    return RLRecipe(**(settings | changes))


def test_the_preset_of_the_paper_is_the_default() -> None:
    arguments = training_arguments(recipe())
    assert (arguments.beta, arguments.kl_estimator) == (0.01, "k3")
    assert (arguments.all_wrong, arguments.all_correct) == ("penalize", "drop")
    assert arguments.refill_max_extra_batches == 0


def test_k_exaone_has_no_kl_and_leaves_out_groups_without_variance() -> None:
    arguments = training_arguments(recipe(preset="k-exaone"))
    assert arguments.beta == 0.0
    assert (arguments.all_wrong, arguments.all_correct) == ("drop", "drop")


def test_a_key_of_the_recipe_wins_over_its_preset() -> None:
    trainer = {"per_device_train_batch_size": 8, "all_wrong": "literal"}
    assert training_arguments(recipe(preset="k-exaone", trainer=trainer)).all_wrong == "literal"


def test_the_outcome_types_the_groups_and_is_no_part_of_the_reward() -> None:
    rewards = [RewardSpec(use="rewards.math_answer:math_answer", weight=weight) for weight in (1.0, 0.2)]
    arguments = training_arguments(recipe(rewards=rewards))
    assert arguments.outcome_reward == "outcome"
    assert arguments.reward_weights == [1.0, 0.2, 0.0]  # the bridge hands it over last


def test_refill_reaches_the_trainer_and_has_one_place_in_the_recipe() -> None:
    arguments = training_arguments(recipe(refill=RefillSection(max_extra_batches=2, below=0.75)))
    assert (arguments.refill_max_extra_batches, arguments.refill_below) == (2, 0.75)
    trainer = {"per_device_train_batch_size": 8, "refill_below": 0.75}
    with pytest.raises(UserError, match=r"trainer\.refill_below: .*use the recipe's `refill\.below`"):
        training_arguments(recipe(trainer=trainer))


def test_an_unknown_preset_is_refused_with_the_known_ones(tmp_path: Any) -> None:
    path = tmp_path / "rl.yaml"
    path.write_text(
        "stage: rl\nrun: run\npreset: k-exaon\nmodel: {path: m}\ndata: {sources: [{path: r.jsonl}]}\n"
        'rewards: [{use: "rewards.math_answer:math_answer"}]\n'
    )
    with pytest.raises(UserError, match=r"preset: got 'k-exaon'.*exaone-4\.0.*k-exaone"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"num_generations": 1}, "at least 2 generations"),
        ({"per_device_train_batch_size": 6, "num_generations": 4}, "divisible"),
    ],
)
def test_impossible_groups_are_refused_in_one_line(trainer: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        training_arguments(recipe(trainer={"per_device_train_batch_size": 8, **trainer}))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("all_wrong_penalty", 0.0),
        ("std_floor", 0.0),
        ("importance_cap", 0.5),
        ("max_mismatch_kl", 0.0),
        ("rollout_timeout_s", 0.0),
        ("alarm_kl", -0.1),
        ("alarm_lag_kl", 0.0),
        ("alarm_ess", 0.0),
        ("alarm_grad_norm", 0.0),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_sampled(setting: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{setting} is {value}; it must be"):
        training_arguments(recipe(trainer={"per_device_train_batch_size": 8, setting: value}))


def test_prompts_are_told_by_mode_beside_the_batch_they_come_in() -> None:
    rows = [{"mode": "non_reasoning"}] * 3 + [{"mode": "reasoning"}]
    told = describe(training_arguments(recipe()), rows)
    assert told.startswith("  3 non-reasoning and 1 reasoning prompts; a batch is 1 groups of 8, 8 responses")


def test_prompts_that_leave_no_room_for_a_completion_are_counted_and_the_first_is_named() -> None:
    trainer = {"per_device_train_batch_size": 8, "max_completion_length": 60, "vllm_max_model_length": 100}
    arguments = training_arguments(recipe(trainer=trainer))
    check_lengths([40, 12], arguments, context=128)
    with pytest.raises(UserError, match=r"2 of 3 prompts .* row 1 with 41 tokens; .* leaves 40 beside"):
        check_lengths([40, 41, 70], arguments, context=128)
    with pytest.raises(UserError, match="leaves 20 beside"):
        check_lengths([40], arguments, context=80)


@pytest.fixture
def never_right(model_folder: Path, demo_files: dict[str, Path], tmp_path: Path) -> RLRecipe:
    return recipe(
        run=str(tmp_path / "run"),
        model=ModelSection(path=str(model_folder)),
        data=DataSection(sources=[Source(path=str(demo_files["rl"]))]),
        rewards=[RewardSpec(use="tests.grading.never_right:never")],
        trainer={"per_device_train_batch_size": 8, "max_completion_length": 8},
    )


def test_rows_whose_gold_answer_fails_are_refused_before_the_run_begins(never_right: RLRecipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"30 of 30 rows fail their own grader: .*:1: never says .*: never good"):
        run_stage(never_right, resume=False)
    assert not (tmp_path / "run").exists()


def test_gold_answers_are_not_looked_at_where_the_recipe_says_so(never_right: RLRecipe) -> None:
    assert check_gold(replace(never_right, check_gold=False), rows=[]) == "not checked"
