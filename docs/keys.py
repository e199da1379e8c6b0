"""Writes docs/keys.md, every key of every recipe, from the dataclasses that read them: `python docs/keys.py`.

What a key means is its line under `Attributes` in the docstring of its class; a key without one is an error.
"""

import inspect
import re
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from posttrain.preference.config import NOT_IN_SIMPER
from posttrain.recipe import STAGES
from posttrain.recipe.config import SAID_ELSEWHERE
from posttrain.recipe.limits import Limit
from posttrain.recipe.schema import Recipe
from posttrain.rl.config import AGAPOConfig

PAGE = Path(__file__).with_name("keys.md")
HEAD = """\
<!-- Written by docs/keys.py (make docs) from the code; change the docstrings there. -->

# Keys

Every key that a recipe may have, by stage. A file begins with `stage:` and the name of its stage, and keys are nested
as usual; on the command line a key is its path:

```bash
posttrain check recipes/demo/sft.yaml data.max_length=256 data.sources.0.weight=2 trainer.learning_rate=1e-4
```

An unknown key is an error that names the nearest known one. `posttrain check RECIPE` prints the recipe as it was
resolved, every default written out. `${root}/...` in a value stands for the key `root`.
"""
TRAINER = """
## trainer

`trainer:` goes as it is to the config class of TRL, so every key of TRL's documentation is there:
[SFTConfig](https://huggingface.co/docs/trl/sft_trainer#trl.SFTConfig) in `sft` and `context`,
[GRPOConfig](https://huggingface.co/docs/trl/grpo_trainer#trl.GRPOConfig) in `rl`,
[DPOConfig](https://huggingface.co/docs/trl/dpo_trainer#trl.DPOConfig) in `pref`. What the recipe says elsewhere
(`run`, `seed`, `data.max_length`, ...) is refused there. `lora:` goes to peft's
[LoraConfig](https://huggingface.co/docs/peft/package_reference/lora#peft.LoraConfig). SFT adds no key of its own.

### trainer in rl

`AGAPOConfig` is a `GRPOConfig` with these keys, which are new or have another default:

{agapo}
### trainer in pref

`SimPERConfig` is a `DPOConfig` without what belongs to DPO's loss, to a reference model or to cutting and padding.
Refused are {refused}.
"""
SET_BY_THE_STAGE = {*SAID_ELSEWHERE, "outcome_reward"}
WORDS = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", Any: "anything"}


def page() -> str:
    """The whole page."""
    sections: list[type] = []  # grows with every table that names one
    common = [item for item in fields(Recipe) if item.name != "stage"]
    parts = [HEAD, f"\n## Every stage\n\n{_table(Recipe, common, sections)}"]
    for name, recipe in STAGES.items():
        own = fields(recipe)[len(fields(Recipe)) :]
        parts.append(f"\n## Stage {name}\n\n{_summary(recipe)}\n\n{_table(recipe, own, sections)}")
    parts.append("\n## Sections\n\nWhat several keys above consist of.\n")
    for section in sections:
        table = _table(section, fields(section), sections)
        parts.append(f"\n### {_heading(section)}\n\n{_summary(section)}\n\n{table}")
    names = AGAPOConfig.__annotations__.keys() - SET_BY_THE_STAGE
    agapo = [item for item in fields(AGAPOConfig) if item.name in names]
    parts.append(TRAINER.format(agapo=_table(AGAPOConfig, agapo, sections), refused=_listed(NOT_IN_SIMPER)))
    return "".join(parts)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(cls: type, items: Any, sections: list[type]) -> str:
    types, meanings = get_type_hints(cls), _meanings(cls)
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for item in items:
        if item.name not in meanings:
            raise ValueError(f"{cls.__name__}.{item.name} has no line under Attributes in the docstring of its class")
        cells = (f"`{item.name}`", _type(types[item.name], item, sections), _default(item), meanings[item.name])
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _meanings(cls: type) -> dict[str, str]:
    """Of every key, its own class's or an inherited one's."""
    meanings: dict[str, str] = {}
    ours = [each for each in cls.__mro__ if each.__module__.startswith("posttrain.")]
    for owner in reversed(ours):
        _, _, attributes = inspect.cleandoc(owner.__doc__ or "").partition("Attributes:\n")
        for name, text in re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", attributes, flags=re.MULTILINE):
            meanings[name] = _linked(" ".join(text.split()))
    return meanings


def _linked(text: str) -> str:
    """With a link in the place of every path of a page, and YAML's word for nothing."""
    text = re.sub(r"docs/((\w+)\.md)", r"[\2](\1)", text)
    text = re.sub(r"(\w+)/README\.md", r"[\1](../\1/README.md)", text)
    return re.sub(r"\bNone\b", "null", text)


def _summary(cls: type) -> str:
    summary, _, _ = inspect.cleandoc(cls.__doc__ or "").partition("\n\nAttributes:")
    return _linked(summary)


def _heading(section: type) -> str:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", section.__name__.removesuffix("Spec").removesuffix("Section"))
    return " ".join([words[0], *(word if word.isupper() else word.lower() for word in words[1:])])


def _type(type_: Any, item: "Field[Any]", sections: list[type]) -> str:
    """What a value has to be: type, limit, and whether it may be null."""
    is_union = get_origin(type_) in (Union, UnionType)
    words = [_type_words(each, sections) for each in (get_args(type_) if is_union else [type_]) if each is not NoneType]
    limit = item.metadata.get("limit")
    if isinstance(limit, Limit):
        words.append(limit.need.removeprefix("a ").removeprefix("number ").removeprefix("of "))
    return ", ".join(words) + (", or `null`" if is_union and NoneType in get_args(type_) else "")


def _type_words(type_: Any, sections: list[type]) -> str:
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, UnionType):
        return " or ".join("`null`" if each is NoneType else _type_words(each, sections) for each in arguments)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {_type_words(arguments[0], sections)}"
    if origin is dict:
        return "mapping"
    if is_dataclass(type_):
        if type_ not in sections:
            sections.append(type_)
        heading = _heading(type_)
        return f"[{heading}](#{heading.lower().replace(' ', '-')})"
    return WORDS[type_]


def _default(item: "Field[Any]") -> str:
    if item.default_factory is not MISSING:
        value = item.default_factory()
    elif item.default is MISSING:
        return "required"
    else:
        value = item.default
    if is_dataclass(value):
        return "its defaults"
    return f"`{yaml.safe_dump([value], default_flow_style=True, width=1000).strip()[1:-1]}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
