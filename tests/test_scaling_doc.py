"""docs/scaling.md: what it quotes is what the programs say."""

import re
from pathlib import Path

import pytest

from posttrain.check_config import check_config
from posttrain.recipe import load_recipe

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_plan_on_the_page_is_the_one_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    check_config(load_recipe(PROJECT / "recipes" / "qwen3-0.6b" / "sft.yaml"))
    [quoted] = re.findall(r"```\n(data .*?)```", PAGE, flags=re.DOTALL)
    assert capsys.readouterr().out.endswith(f"\n{quoted}")


def test_files_and_folders_of_the_page_are_there() -> None:
    named = set(re.findall(r"recipes/[\w./-]*[\w/]", PAGE)) | {
        f"docs/{link}" for link in re.findall(r"\]\(([^)\s]+)\)", PAGE)
    }
    assert len(named) > 10
    assert [name for name in named if not (PROJECT / name).exists()] == []
    files = {path.stem for path in (PROJECT / "recipes" / "accelerate").glob("*.yaml")}
    table = PAGE.partition("## Which accelerate file")[2].partition("\n\n- ")[0]
    assert files == set(re.findall(r"`(\w+)`", table))


def test_batches_of_the_page_are_those_of_the_recipes() -> None:
    folder = PROJECT / "recipes" / "exaone-4.0-32b"
    sft, rl, pref = (load_recipe(folder / f"{name}.yaml") for name in ("sft", "rl", "pref-stage1"))
    tokens = sft.data.pack_tokens * sft.trainer["gradient_accumulation_steps"]  # type: ignore[union-attr, operator]
    assert f"= {tokens:,} tokens | 16 | {16 * tokens:,} tokens |" in PAGE
    size = rl.trainer["num_generations"]  # type: ignore[union-attr]
    responses = rl.trainer["per_device_train_batch_size"] * rl.trainer["gradient_accumulation_steps"]  # type: ignore[union-attr]
    said = f"= {responses} responses, {responses // size} groups of {size} | 16 | {16 * responses} responses, "
    assert f"{said}{16 * responses // size} groups |" in PAGE
    pairs = pref.trainer["per_device_train_batch_size"] * pref.trainer["gradient_accumulation_steps"]  # type: ignore[union-attr]
    assert f"= {pairs} pairs | 32 | {32 * pairs} pairs |" in PAGE
