"""docs/metrics.md names every figure that runs log; those of the demo's stages are in tests/end_to_end."""

import random
from pathlib import Path

import pytest

from posttrain.chat import origin_of
from posttrain.models.load import load_tokenizer
from posttrain.preference import stage as pref_stage
from posttrain.preference.pair_files import write_pairs
from posttrain.recipe import PrefRecipe, SFTRecipe, load_recipe
from posttrain.recipe.sections import ModelSection
from posttrain.sft import stage as sft_stage
from tests.docs.metrics_page import logged, unnamed

pytestmark = pytest.mark.slow


def test_every_figure_of_sft_with_validation_is_on_the_page(sft_recipe_file: Path, demo_files: dict[str, Path]) -> None:
    held_out = f"validation={{sources: [{{path: {demo_files['sft_reasoning']}}}]}}"
    recipe = load_recipe(sft_recipe_file, [held_out, "trainer.max_steps=2", "trainer.logging_steps=1"])
    assert isinstance(recipe, SFTRecipe)
    sft_stage.run_stage(recipe, resume=False)
    assert {"eval_loss/reasoning", "loss/reasoning"} <= logged(Path(recipe.run))
    assert unnamed(Path(recipe.run), "sft") == []


@pytest.mark.parametrize("objective", ["dpo", "simpo"])
def test_every_figure_of_trls_own_objectives_is_on_the_page(tmp_path: Path, model_folder: Path, objective: str) -> None:
    rng = random.Random(0)
    rows = [
        {
            "query": index,
            "prompt_ids": rng.choices(range(20, 250), k=5),
            "chosen_ids": rng.choices(range(20, 250), k=4),
            "rejected_ids": rng.choices(range(20, 250), k=6),
            "mode": "reasoning",
        }
        for index in range(4)
    ]
    model = ModelSection(path=str(model_folder))
    write_pairs(tmp_path / "pairs.parquet", rows, origin_of(load_tokenizer(model)))
    recipe = PrefRecipe(
        run=str(tmp_path / "run"),
        model=model,
        objective=objective,  # type: ignore[arg-type]
        pairs=[str(tmp_path / "pairs.parquet")],
        trainer={"per_device_train_batch_size": 4, "max_steps": 1, "logging_steps": 1, "report_to": []},
    )
    pref_stage.run_stage(recipe, resume=False)
    assert "rewards/margins" in logged(Path(recipe.run))
    assert unnamed(Path(recipe.run), "pref") == []
