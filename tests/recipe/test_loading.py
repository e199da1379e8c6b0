"""A recipe is read as it is written, and overrides reach every part of it."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posttrain.recipe import (
    STAGES,
    EvalRecipe,
    FilterRecipe,
    RLRecipe,
    SFTRecipe,
    load_recipe,
    resolved_yaml,
)
from tests.recipe.examples import RECIPES, refusal, without, written


@pytest.mark.parametrize("stage", RECIPES)
def test_recipe_of_each_stage_loads_as_its_class_and_survives_writing_out(tmp_path: Path, stage: str) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES[stage]), stage=stage)
    assert type(recipe) is STAGES[stage]
    assert recipe.run == "runs/demo/here"
    text = resolved_yaml(recipe)
    assert "${" not in text
    again = load_recipe(written(tmp_path, text, "again.yaml"))
    assert again == recipe
    assert resolved_yaml(again) == text


def test_interpolation_is_resolved_in_sections_lists_and_free_parts(tmp_path: Path) -> None:
    content = RECIPES["sft"] | {"trainer": {"report_to": ["${run}"], "note": "seed ${seed}, ${model.dtype}"}}
    recipe = load_recipe(written(tmp_path, content))
    assert isinstance(recipe, SFTRecipe)
    assert recipe.model.path == "runs/demo/base"
    assert recipe.trainer == {"report_to": ["runs/demo/here"], "note": "seed 3, float32"}


def test_escaped_dollar_brace_stays_text_through_writing_out(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["sft"] | {"trainer": {"note": r"\${no}"}}))
    assert isinstance(recipe, SFTRecipe)
    assert recipe.trainer == {"note": "${no}"}
    assert load_recipe(written(tmp_path, resolved_yaml(recipe))) == recipe


@pytest.mark.parametrize("text", ["1e-6", "1E-6", "1.0e-6", "0.000001"])
def test_exponent_without_a_dot_is_a_number_everywhere(tmp_path: Path, text: str) -> None:
    body = yaml.safe_dump(without(RECIPES["sft"], "trainer"))
    path = written(tmp_path, f"{body}trainer: {{learning_rate: {text}, betas: [{text}]}}\n")
    recipe = load_recipe(path, [f"mixer.args.shares.reasoning={text}", f"data.sources.0.weight={text}"])
    assert isinstance(recipe, SFTRecipe)
    assert recipe.trainer == {"learning_rate": 1e-6, "betas": [1e-6]}
    assert recipe.mixer.args["shares"]["reasoning"] == recipe.data.sources[0].weight == 1e-6


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(number=st.floats(min_value=1e-300, max_value=1e300))
def test_any_number_reads_back_as_itself(tmp_path: Path, number: float) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["sft"]), [f"trainer.learning_rate={number!r}"])
    again = load_recipe(written(tmp_path, resolved_yaml(recipe), "again.yaml"))
    assert isinstance(again, SFTRecipe)
    assert again.trainer["learning_rate"] == number


def test_recipe_cannot_be_changed_after_loading(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["sft"]))
    with pytest.raises(FrozenInstanceError):
        recipe.seed = 4  # type: ignore[misc]


def test_filter_is_the_papers_unless_the_recipe_says_otherwise(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["filter"]))
    assert isinstance(recipe, FilterRecipe)
    assert recipe.decoding.samples == 8
    assert (recipe.keep.pass_rate_above, recipe.keep.pass_rate_below) == (None, 1.0)
    other = load_recipe(written(tmp_path, RECIPES["filter"]), ["decoding.samples=4", "keep.pass_rate_below=null"])
    assert isinstance(other, FilterRecipe)
    assert (other.decoding.samples, other.keep.pass_rate_below) == (4, None)


def test_engine_may_be_given_by_its_name_alone(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["eval"] | {"engine": "transformers"}))
    assert isinstance(recipe, EvalRecipe)
    assert (recipe.engine.name, recipe.engine.memory_gb) == ("transformers", 1.0)


# --- overrides ---


def test_overrides_reach_sections_lists_free_parts_and_interpolations_in_order(tmp_path: Path) -> None:
    overrides = [
        "root=elsewhere",
        "seed=1",
        "seed=2",
        "decodings.1.temperature=0.7",
        "rewards.0.args.limit=9",
        "engine.max_num_seqs=4",
        "model.chat_template=null",
        "rewards.0.name=a=b",
    ]
    recipe = load_recipe(written(tmp_path, RECIPES["eval"]), overrides)
    assert isinstance(recipe, EvalRecipe)
    assert (recipe.run, recipe.seed, recipe.engine.max_num_seqs) == ("elsewhere/here", 2, 4)
    assert [decoding.temperature for decoding in recipe.decodings] == [0.0, 0.7]
    assert (recipe.rewards[0].args, recipe.rewards[0].name) == ({"limit": 9}, "a=b")


def test_override_supplies_a_key_the_file_lacks(tmp_path: Path) -> None:
    path = written(tmp_path, without(RECIPES["rl"], "run"))
    assert "missing run" in refusal(path)
    recipe = load_recipe(path, ["run=x", "lora.r=4"])
    assert isinstance(recipe, RLRecipe)
    assert (recipe.run, recipe.lora) == ("x", {"r": 4})


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("seed", ["'seed'", "section.key=value"]),
        ("=3", ["section.key=value"]),
        ("data..path=3", ["section.key=value"]),
        ("sed=3", ["'sed=3'", "unknown key 'sed'", "did you mean 'seed'?"]),
        ("max_length=3", ["unknown key 'max_length'", "did you mean 'data.max_length'?"]),
        ("beta=3", ["unknown key 'beta'; if it is a setting of the trainer, write 'trainer.beta'"]),
        ("modle.path=x", ["unknown key 'modle'", "did you mean 'model'?"]),
        ("model.dtpe=x", ["unknown key 'model.dtpe'", "did you mean 'model.dtype'?"]),
        ("data.sources.1.wieght=2", ["unknown key 'data.sources.1.wieght'", "did you mean 'data.sources.1.weight'?"]),
        ("data.sources.7.weight=2", ["data.sources.7.weight", "out of range"]),
        ("data.sources.first.weight=2", ["data.sources.first.weight", "'first'"]),
        ("root=[1", ["'[1'", "not valid YAML"]),
        ("root=${", ["root=${"]),
        ("stage=rl", ["stage: got 'rl'", "sft"]),
        ("trainer=[1]", ["trainer=[1]"]),
    ],
)
def test_bad_override_is_named_with_the_nearest_key(tmp_path: Path, override: str, parts: list[str]) -> None:
    message = refusal(written(tmp_path, RECIPES["sft"]), (override,))
    for part in ["override", *parts]:
        assert part in message
