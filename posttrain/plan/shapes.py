"""A model's sizes where its weights, and often its folder, are not at hand yet.

A later stage of a pipeline begins with the model that an earlier one writes, so the recipes beside it say which model
that is in the end.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.errors import UserError
from posttrain.models.build import PRESETS, HybridShape, model_config
from posttrain.models.decoder import DecoderShape, read_decoder
from posttrain.models.load import read_config
from posttrain.recipe import AnyRecipe, ContextRecipe, ModelSection, load_recipe

DEMO_VOCABULARY = 512


class Found(NamedTuple):
    """A shape and how it was found."""

    shape: DecoderShape
    how: str


def _other(hidden: int, width: int, layers: int, heads: int, kv_heads: int, vocabulary: int, *, normed: bool) -> Any:
    """A model with heads of its own size, RoPE and full attention in every layer, and one embedding for both ends."""
    return DecoderShape(
        hidden_size=hidden,
        intermediate_size=width,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=128 if normed else hidden // heads,
        layer_types=("full_attention",) * layers,
        sliding_window=1,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        normalizes_queries=normed,
        normalizes_outputs=False,
    )


# Sizes as in each model's published config.json.
OTHERS = {
    "qwen3-0.6b": _other(1024, 3072, 28, 16, 8, 151_936, normed=True),
    "smollm2-135m-instruct": _other(576, 1536, 30, 9, 3, 49_152, normed=False),
}
SAME_SIZE = {"qwen3-0.6b-base": "qwen3-0.6b", "smollm2-135m": "smollm2-135m-instruct"}
# What the demo and the benchmarks begin with; theirs are of this order.
TINY_FOLDERS = ("demo/base", "context/seed0/untrained", "layers/start")


def find_shape(section: ModelSection, recipe_file: Path, model: str | None) -> Found:
    """The sizes of the model that a recipe trains or samples from.

    Args:
        section: The recipe's.
        recipe_file: Its file; other recipes of the pipeline lie beside it.
        model: In the place of the recipe's.

    Raises:
        UserError: they cannot be found.
    """
    path = model or section.path
    for origin in _origins(path, recipe_file):
        if (Path(origin) / "config.json").is_file():
            return Found(read_decoder(read_config(ModelSection(path=origin))), _from(path, origin, "its folder"))
        if (shape := _known(origin)) is not None:
            return Found(shape, _from(path, origin, "sizes as published"))
        if origin.removeprefix("runs/") in TINY_FOLDERS:
            return Found(_of_preset(PRESETS["tiny"]), f"assumed: the preset tiny, as {origin} is not here")
    try:
        return Found(read_decoder(read_config(ModelSection(path=origin))), _from(path, origin, "its configuration"))
    except UserError as error:
        raise UserError(
            f"{error}; or plan with --model NAME: {', '.join([*PRESETS, *OTHERS])}, or a folder with a config.json"
        ) from error


def siblings(recipe_file: Path) -> dict[str, AnyRecipe]:
    """The recipes beside this one, by the run folder that they write."""
    return _recipes_in(recipe_file.resolve().parent)


@cache
def _recipes_in(folder: Path) -> dict[str, AnyRecipe]:
    found: dict[str, AnyRecipe] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            recipe = load_recipe(path)
        except UserError:
            continue  # not a recipe, or one that is still being written
        found.setdefault(recipe.run, recipe)
        for rung in recipe.stages if isinstance(recipe, ContextRecipe) else ():
            found[f"{recipe.run}/{rung.name}"] = recipe
    return found


def _origins(path: str, recipe_file: Path) -> list[str]:
    """The model, the one that it is made from, and so on."""
    written, chain = siblings(recipe_file), [path]
    while (recipe := written.get(chain[-1].removesuffix("/model"))) is not None:
        section = getattr(recipe, "model", None)
        if section is None or section.path in chain:
            break
        chain.append(section.path)
    return chain


def _known(path: str) -> DecoderShape | None:
    name = path.rpartition("/")[2].lower()
    if name in PRESETS:
        return _of_preset(PRESETS[name])
    return OTHERS.get(SAME_SIZE.get(name, name))


def _of_preset(shape: HybridShape) -> DecoderShape:
    return read_decoder(model_config(replace(shape, vocab_size=shape.vocab_size or DEMO_VOCABULARY)))


def _from(path: str, origin: str, what: str) -> str:
    return f"{origin}, {what}" + (f"; {path} is made from it" if origin != path else "")
