"""How many rows a stage has and how long they are: counted where files and tokenizer are here, else assumed."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from posttrain.data.files import data_files
from posttrain.errors import UserError
from posttrain.models.load import load_tokenizer
from posttrain.recipe import (
    AnyRecipe,
    DataSection,
    FilterRecipe,
    ModelSection,
    PairsRecipe,
    PrefRecipe,
    RLRecipe,
    SFTRecipe,
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows, and tokens of them: the mean and the most.

    `row` counts whole rows of SFT; `prompt` and `response` the parts of the other stages; 0 is not known.
    """

    rows: int = 0
    row: int = 0
    longest_row: int = 0
    prompt: int = 0
    longest_prompt: int = 0
    response: int = 0
    longest_response: int = 0


def count(recipe: AnyRecipe) -> Counts:
    """What the recipe's own data say; nothing of what is not here."""
    if isinstance(recipe, PrefRecipe):
        return _pairs(recipe)
    if isinstance(recipe, SFTRecipe) and _is_here(recipe.data, recipe.model):
        return _rows(recipe)
    if isinstance(recipe, RLRecipe | FilterRecipe | PairsRecipe) and _is_here(recipe.data, recipe.model):
        return _prompts(recipe)
    return Counts()


def _is_here(section: DataSection, model: ModelSection) -> bool:
    """Whether all rows can be read and turned into tokens without a network."""
    try:
        for source in section.sources:
            data_files(source.path)
    except UserError:
        return False
    return (Path(model.path) / "tokenizer_config.json").is_file()


def _rows(recipe: SFTRecipe) -> Counts:
    from posttrain.data.intake import take_in
    from posttrain.sft.stage import plan

    mixed = plan(recipe, take_in(recipe.data, load_tokenizer(recipe.model)))
    lengths = mixed.num_tokens
    return Counts(rows=len(lengths), row=round(float(lengths.mean())), longest_row=int(lengths.max()))


def _prompts(recipe: RLRecipe | FilterRecipe | PairsRecipe) -> Counts:
    from posttrain.chat import encode_prompt, render_prompt
    from posttrain.data.rows import read_all, split_prompt

    tokenizer, rows = load_tokenizer(recipe.model), read_all(recipe.data.sources)
    mode = None if isinstance(recipe, RLRecipe) else recipe.decoding.mode
    texts = (render_prompt(tokenizer, split_prompt(row), mode or row["mode"], row.get("tools")) for row in rows)
    lengths = [len(encode_prompt(tokenizer, text)) for text in texts]
    return Counts(rows=len(rows), prompt=_mean(lengths), longest_prompt=max(lengths))


def _pairs(recipe: PrefRecipe) -> Counts:
    import pyarrow.parquet

    names = ["prompt_ids", "chosen_ids", "rejected_ids"]
    if recipe.objective == "group_simper" or not all(Path(path).is_file() for path in recipe.pairs):
        return Counts()
    tables = [pyarrow.parquet.read_table(path, columns=names) for path in recipe.pairs]
    prompt, *sides = ([len(ids) for table in tables for ids in table[name].to_pylist()] for name in names)
    responses = list(chain(*sides))
    return Counts(
        rows=len(prompt),
        prompt=_mean(prompt),
        longest_prompt=max(prompt),
        response=_mean(responses),
        longest_response=max(responses),
    )


def _mean(lengths: list[int]) -> int:
    return max(1, round(sum(lengths) / len(lengths)))
