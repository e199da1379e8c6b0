import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain import check, cli
from posttrain.errors import UserError
from posttrain.modelling.new import new_model
from posttrain.recipe import ModelRecipe, ShapeSection

SMALL = ShapeSection(hidden_size=32, intermediate_size=64, num_heads=2, num_kv_heads=1, head_dim=16, sliding_window=16)


def test_recipe_becomes_a_folder_that_plain_transformers_loads(model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(
        f"stage: model\nrun: {tmp_path / 'run'}\ntokenizer: {model_folder}\ndtype: bfloat16\n"
        "shape: {hidden_size: 32, num_layers: 5, local_layers: 4, num_kv_heads: 1, tie_word_embeddings: true}\n"
    )
    assert cli.main(["model", "new", str(path), "shape.sliding_window=8"]) == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run/model")
    assert model.config.layer_types == ["sliding_attention"] * 4 + ["full_attention"]
    assert (model.config.sliding_window, model.config.num_key_value_heads) == (8, 1)
    assert str(model.config.dtype) == "torch.bfloat16"
    assert AutoTokenizer.from_pretrained(tmp_path / "run/model").chat_template
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["status"] == "finished"


@pytest.mark.parametrize("command", ["new", "check"])
def test_largest_model_is_counted_without_being_built(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ModelRecipe(run=str(tmp_path / "run"), preset="exaone-4.0-32b")
    if command == "new":
        new_model(recipe, dry_run=True)
    else:
        check.check_recipe(recipe)
    said = capsys.readouterr().out
    assert "48 sliding and 16 full, window 4,096" in said
    assert "32,003,216,384 (embedding 524,288,000" in said
    assert "131,072" in said
    assert "9.4 GB" in said
    assert "34.4 GB" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (ShapeSection(num_heads=3), "shape.num_heads: got 3, need a multiple of num_kv_heads 2"),
        (ShapeSection(head_dim=15), "shape.head_dim: got 15, need an even number"),
        (ShapeSection(sliding_window=1024), "shape.sliding_window: got 1024, need less than max_position_embeddings"),
        (ShapeSection(vocab_size=10), "shape.vocab_size: got 10, the tokenizer has"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(shape: Any, told: str, model_folder: Path, tmp_path: Path) -> None:
    recipe = ModelRecipe(run=str(tmp_path / "run"), shape=shape, tokenizer=str(model_folder))
    with pytest.raises(UserError, match=told):
        new_model(recipe, dry_run=False)
    assert not (tmp_path / "run").exists()
