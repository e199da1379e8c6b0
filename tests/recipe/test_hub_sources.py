"""Data sets on the hub as sources."""

from pathlib import Path

import pytest

from posttrain.recipe import (
    PrefRecipe,
    ReportRecipe,
    load_recipe,
    parse_hub_path,
)
from tests.recipe.examples import RECIPES, refusal, written

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize("stage", ["sft", "rl", "eval"])
def test_pinned_hub_data_set_is_a_source_of_every_stage(tmp_path: Path, stage: str) -> None:
    source = {"path": f"hub:owner/na-me_1.0@{COMMIT}", "config": "main", "split": "test"}
    recipe = load_recipe(written(tmp_path, RECIPES[stage] | {"data": {"sources": [source]}}))
    assert not isinstance(recipe, PrefRecipe | ReportRecipe)
    assert parse_hub_path(recipe.data.sources[0].path) == ("owner/na-me_1.0", COMMIT)
    assert (recipe.data.sources[0].config, recipe.data.sources[0].split) == ("main", "test")


def test_other_paths_are_not_on_the_hub() -> None:
    assert parse_hub_path("data/hub:x@main") is None


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ({"path": "hub:owner/name"}, "data.sources.0.path: got no revision in 'hub:owner/name', need the 40"),
        ({"path": "hub:owner/name@main"}, "got revision 'main' in"),
        ({"path": "hub:owner/name@v1.0"}, "got revision 'v1.0' in"),
        ({"path": f"hub:owner/name@{COMMIT[:12]}"}, f"got revision '{COMMIT[:12]}' in"),
        ({"path": f"hub:@{COMMIT}"}, "need hub:owner/name@revision"),
        ({"path": f"hub:a/b/c@{COMMIT}"}, "need hub:owner/name@revision"),
        ({"path": "rows.jsonl", "split": "test"}, "data.sources.0.split: got 'test', need it for hub: paths only"),
        ({"path": "rows.jsonl", "config": "a"}, "data.sources.0.config: got 'a', need it for hub: paths only"),
    ],
)
def test_hub_data_set_that_is_not_pinned_is_refused(tmp_path: Path, source: dict[str, str], part: str) -> None:
    assert part in refusal(written(tmp_path, RECIPES["pairs"] | {"data": {"sources": [source]}}))
