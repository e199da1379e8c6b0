"""`posttrain model new`: an untrained model of any shape, and what it costs."""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from posttrain.demo.prepare import demo_tokenizer
from posttrain.errors import UserError
from posttrain.models.build import PRESETS, HybridShape, build_model
from posttrain.models.cost_table import cost_table, describe_layers, describe_parameters
from posttrain.models.load import load_tokenizer, save_model
from posttrain.models.probe import require_window
from posttrain.recipe import ModelRecipe, ModelSection, resolved_yaml
from posttrain.runs import Run
from posttrain.terminal import console, say


def new_model(recipe: ModelRecipe, *, dry_run: bool) -> None:
    """Print the costs; then, unless it is a dry run, build the model, probe it and write it to `run`/model.

    Raises:
        UserError: sizes that do not fit together, no tokenizer, or a run folder that is used.
    """
    shape = shape_of(recipe)
    if dry_run:
        print_costs(shape, vocabulary(recipe, shape))
        return
    tokenizer = _tokenizer(recipe)
    if shape.vocab_size is not None and shape.vocab_size < len(tokenizer):
        raise UserError(f"shape.vocab_size: got {shape.vocab_size}, the tokenizer has {len(tokenizer)} tokens")
    print_costs(shape, shape.vocab_size or len(tokenizer))
    yaml = resolved_yaml(recipe)
    with Run.start(recipe.run, "model", yaml, recipe.seed, _files(recipe), tokenizer.chat_template, False) as run:
        model = build_model(shape, tokenizer, seed=recipe.seed)
        require_window(model)
        save_model(model.to(_dtype(recipe.dtype)), tokenizer, run.model_dir)
        run.finish({"parameters": sum(parameter.numel() for parameter in model.parameters())})
    say(f"  {escape(str(run.model_dir))}")


def shape_of(recipe: ModelRecipe) -> HybridShape:
    """The preset's shape with the recipe's changes.

    Raises:
        UserError: heads that cannot share KV heads evenly, a head that RoPE cannot turn, a window that never slides.
    """
    changes = {name: value for name, value in asdict(recipe.shape).items() if value is not None}
    shape = replace(PRESETS[recipe.preset], **changes)
    if shape.num_heads % shape.num_kv_heads:
        raise UserError(f"shape.num_heads: got {shape.num_heads}, need a multiple of num_kv_heads {shape.num_kv_heads}")
    if shape.head_dim % 2:
        raise UserError(f"shape.head_dim: got {shape.head_dim}, need an even number: RoPE turns pairs")
    if shape.local_layers and shape.sliding_window >= shape.max_position_embeddings:
        raise UserError(
            f"shape.sliding_window: got {shape.sliding_window}, need less than max_position_embeddings "
            f"{shape.max_position_embeddings}; local_layers: 0 is a model without windows"
        )
    return shape


def vocabulary(recipe: ModelRecipe, shape: HybridShape) -> int:
    """Rows of the embedding."""
    return shape.vocab_size or len(_tokenizer(recipe))


def print_costs(shape: HybridShape, vocab_size: int) -> None:
    """Layers, parameters, and a table of cache and arithmetic against length."""
    say(f"layers      {describe_layers(shape)}")
    say(f"parameters  {describe_parameters(shape, vocab_size)}")
    console.print(cost_table(shape, vocab_size), soft_wrap=False)


def _tokenizer(recipe: ModelRecipe) -> Any:
    if recipe.tokenizer is not None:
        return load_tokenizer(ModelSection(path=recipe.tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        return demo_tokenizer(Path(folder), recipe.seed)


def _files(recipe: ModelRecipe) -> list[Path]:
    return [Path(recipe.tokenizer)] if recipe.tokenizer and Path(recipe.tokenizer).is_dir() else []


def _dtype(name: str) -> Any:
    import torch

    return getattr(torch, name)
