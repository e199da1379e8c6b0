"""What the recipe says reaches the trainer."""

from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.recipe import RewardSpec, RLRecipe, load_recipe
from posttrain.recipe.schema import DataSection, ModelSection, RefillSection, Source
from posttrain.rl.stage import check_lengths, training_arguments


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


def test_prompts_that_leave_no_room_for_a_completion_are_counted_and_the_first_is_named() -> None:
    trainer = {"per_device_train_batch_size": 8, "max_completion_length": 60, "vllm_max_model_length": 100}
    arguments = training_arguments(recipe(trainer=trainer))
    check_lengths([40, 12], arguments, context=128)
    with pytest.raises(UserError, match=r"2 of 3 prompts .* row 1 with 41 tokens; .* leaves 40 beside"):
        check_lengths([40, 41, 70], arguments, context=128)
    with pytest.raises(UserError, match="leaves 20 beside"):
        check_lengths([40], arguments, context=80)
