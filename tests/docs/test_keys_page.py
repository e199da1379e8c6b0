"""docs/keys.md is what the code says, and a key without a meaning cannot get onto it."""

import runpy
from dataclasses import dataclass, fields

import pytest

from tests.docs.markdown import PROJECT

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
        KEYS["_table"](Section, fields(Section), {})
