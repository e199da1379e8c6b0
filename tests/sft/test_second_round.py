"""The second round of SFT: the demo's recipe, with shares of domains, on a few rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.data.intake import take_in
from posttrain.recipe import SFTRecipe, load_recipe
from posttrain.sft.stage import plan, run_stage

RECIPE = Path(__file__).parents[2] / "recipes" / "demo" / "sft_round2.yaml"


@pytest.fixture
def recipe(demo_files: dict[str, Path], model_folder: Path, tmp_path: Path) -> SFTRecipe:
    """A first round has left `model_folder`."""
    overrides = [
        f"root={demo_files['sft_round2'].parents[1]}",
        f"model.path={model_folder}",
        f"run={tmp_path / 'run'}",
        "trainer={per_device_train_batch_size: 4, max_steps: 3, logging_steps: 1, report_to: none}",
    ]
    loaded = load_recipe(RECIPE, overrides)
    assert isinstance(loaded, SFTRecipe)
    return loaded


def test_recipe_starts_from_the_first_rounds_model() -> None:
    loaded, first = load_recipe(RECIPE), load_recipe(RECIPE.with_name("sft.yaml"))
    assert isinstance(loaded, SFTRecipe)
    assert loaded.model.path == f"{first.run}/model"
    assert loaded.run != first.run


def test_long_chains_get_two_thirds_of_the_reasoning_tokens(recipe: SFTRecipe, tokenizer: Any) -> None:
    mixed = plan(recipe, take_in(recipe.data, tokenizer))
    long, short = (
        next(usage for usage in mixed.plan.sources if usage.domain == domain)
        for domain in ("long_chains", "short_chains")
    )
    largest = max(row.trained_tokens for row in mixed.rows)
    assert abs(long.drawn_tokens / 2 - short.drawn_tokens) <= largest
    assert (long.asked_share, short.asked_share) == pytest.approx((0.5, 0.25))
    assert mixed.ratio == pytest.approx(3, abs=0.4)
    assert all(usage.repeated_tokens == 0 for usage in mixed.plan.sources)


@pytest.mark.slow
def test_second_round_trains_and_leaves_a_model_and_its_plan(recipe: SFTRecipe) -> None:
    run_stage(recipe, resume=False)
    manifest = json.loads((Path(recipe.run) / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert set(manifest["notes"]["mix"]) == {
        "right/reasoning/long_chains",
        "right/reasoning/short_chains",
        "direct/non_reasoning",
    }
    assert (Path(recipe.run) / "model" / "config.json").is_file()
