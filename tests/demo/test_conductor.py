from pathlib import Path
from typing import Any

import pytest

from posttrain.commands import STAGES
from posttrain.demo import conductor
from posttrain.demo.conductor import RECIPES, STEPS, run_demo
from posttrain.errors import UserError
from posttrain.recipe import load_recipe
from posttrain.recipe.schema import EvalRecipe, PairsRecipe, PrefRecipe, ReportRecipe, RLRecipe

PROJECT = Path(__file__).parents[2]
ALL_RECIPES = sorted(
    path for path in (PROJECT / "recipes").rglob("*.yaml") if "accelerate" not in path.relative_to(PROJECT).parts
)


def test_there_are_recipes() -> None:
    assert len(ALL_RECIPES) >= 8


@pytest.mark.parametrize("path", ALL_RECIPES, ids=lambda path: path.relative_to(PROJECT / "recipes").as_posix())
def test_recipe_loads_and_begins_with_its_command(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.stage in (*STAGES, "model")
    lines = path.read_text(encoding="utf-8").splitlines()
    command = {"model": "model new"}.get(recipe.stage, recipe.stage)
    assert lines[0].startswith(f"# posttrain {command} {path.relative_to(PROJECT).as_posix()}")
    assert any(line.startswith("# Hardware: ") for line in lines[:5])


@pytest.fixture(scope="module")
def steps() -> list[Any]:
    """Every step's recipe with its overrides, as its own process would load it."""
    return [
        load_recipe(PROJECT / RECIPES / f"{recipe}.yaml", ["root=runs/x", "seed=5", *overrides], stage=command)
        for _, command, recipe, overrides in STEPS
    ]


def test_steps_name_recipes_of_their_stage_and_have_folders_of_their_own(steps: list[Any]) -> None:
    folders = [recipe.run for recipe in steps]
    assert len(set(folders)) == len(STEPS)
    assert all(folder.startswith("runs/x/") for folder in folders)
    assert {recipe.seed for recipe in steps} == {5}


def test_each_step_reads_only_what_an_earlier_one_wrote(steps: list[Any]) -> None:
    written = {"runs/x/base", *(f"runs/x/data/{path.stem}.jsonl" for path in _data_files())}
    for recipe in steps:
        reads: list[str] = []
        if not isinstance(recipe, ReportRecipe):
            reads.append(recipe.model.path)
        if isinstance(recipe, PrefRecipe):
            reads += recipe.pairs
        elif isinstance(recipe, ReportRecipe):
            reads += [folder for stage in recipe.stages for folder in (stage.run, stage.eval) if folder]
        else:
            reads += _data_paths(recipe)
        if isinstance(recipe, PairsRecipe) and recipe.pairs.stage1:
            reads.append(recipe.pairs.stage1)
        assert set(reads) <= written, recipe.run
        written |= {recipe.run, f"{recipe.run}/model", f"{recipe.run}/pairs.parquet"}


def _data_paths(recipe: Any) -> list[str]:
    return [source.path for source in recipe.data.sources] if getattr(recipe, "data", None) else []


def _data_files() -> list[Path]:
    from posttrain.demo.data import Sizes

    return [Path(name) for name in Sizes.__slots__]


def test_only_evaluation_reads_the_test_split(steps: list[Any]) -> None:
    for recipe in steps:
        paths = _data_paths(recipe)
        asks_test = any("test" in path for path in paths) or bool(getattr(recipe, "benchmarks", []))
        assert asks_test == isinstance(recipe, EvalRecipe)
        assert isinstance(recipe, RLRecipe) <= (paths == ["runs/x/data/rl.jsonl"])


def test_last_model_is_profiled_in_both_modes_and_over_budgets_and_the_report_shows_it(steps: list[Any]) -> None:
    *_, profile, report = steps
    assert profile.model.path == "runs/x/pref-stage2/model"
    assert [decoding.mode for decoding in profile.decodings] == ["reasoning", "non_reasoning"]
    assert len(profile.thinking_budgets) > 2
    assert profile.thinking_budgets[-1] is None
    assert profile.latency_questions > 0
    assert report.stages[-1].run == profile.run


def test_step_that_fails_stops_the_demo_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step is run for real, on a recipe that its process refuses."""
    (tmp_path / "sft.yaml").write_text("stage: sft\n")
    (tmp_path / "root" / "base").mkdir(parents=True)
    (tmp_path / "root" / "base" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conductor, "RECIPES", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    with pytest.raises(UserError, match="'unified SFT' ended with code 2"):
        run_demo(Path("root"), seed=0)
