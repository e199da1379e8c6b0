"""docs/keys.md is what the code says, and a key without a meaning cannot get onto it."""

import re
import runpy
from dataclasses import dataclass, fields, is_dataclass
from typing import get_args, get_type_hints

import pytest
from trl import DPOConfig, SFTConfig
from trl.experimental.cpo import CPOConfig

from posttrain.recipe import STAGES
from posttrain.rl.config import AGAPOConfig
from tests.docs.markdown import PAGES, PROJECT

KEYS = runpy.run_path(str(PROJECT / "docs" / "keys.py"))


def test_page_is_the_one_that_the_code_gives() -> None:
    written = (PROJECT / "docs" / "keys.md").read_text(encoding="utf-8")
    assert written == KEYS["page"](), "run `make docs` and commit docs/keys.md"


def test_key_without_a_meaning_is_an_error() -> None:
    @dataclass
    class Section:
        """A section.

        Attributes:
            known: what it is.
        """

        known: int = 1
        unknown: int = 2

    Section.__module__ = "posttrain.recipe.schema"
    with pytest.raises(ValueError, match=r"Section\.unknown has no line under Attributes"):
        KEYS["_table"](Section, fields(Section), [])


def test_keys_that_the_pages_name_exist() -> None:
    trainers = {item.name for config in (AGAPOConfig, SFTConfig, DPOConfig, CPOConfig) for item in fields(config)}
    known: dict[str, set[str]] = {"trainer": trainers}
    for recipe in STAGES.values():
        for name, kind in get_type_hints(recipe).items():
            for section in (kind, *get_args(kind)):
                if is_dataclass(section) and name != "rewards":  # which is a package, too
                    known.setdefault(name, set()).update(item.name for item in fields(section))
    pattern = re.compile(rf"`({'|'.join(known)})\.(\w+)(?:[=:][^`]*)?`")
    named = {key for page in PAGES for key in pattern.findall(page.read_text(encoding="utf-8"))}
    assert len(named) > 30
    others = {("model", "generate"), ("pairs", "parquet"), ("gate", "jsonl")}  # a method, files
    assert [f"{section}.{key}" for section, key in named - others if key not in known[section]] == []
