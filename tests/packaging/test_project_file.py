"""What `pyproject.toml` says agrees with the files beside it."""

import ast
import re
import sys
import tomllib
from importlib.metadata import entry_points, packages_distributions
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from posttrain import __version__, cli

PROJECT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()
LOCKED = {
    canonicalize_name(name): version for name, equals, version in (line.partition("==") for line in LOCK) if equals
}
REQUIREMENTS = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
OPTIONAL = {
    extra: [Requirement(text) for text in texts]
    for extra, texts in PYPROJECT["project"]["optional-dependencies"].items()
}


def test_version_comes_from_one_place_and_the_citation_repeats_it() -> None:
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "posttrain.__version__"}
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == PYPROJECT["project"]["license"]


def test_changelog_knows_the_version() -> None:
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^#+ \[?({re.escape(__version__)}|unreleased)\b", changelog, re.MULTILINE | re.IGNORECASE)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_lock_pins_every_dependency_within_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(LOCKED[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("extra", OPTIONAL)
def test_lock_pins_optional_packages_within_their_range_where_it_has_them(extra: str) -> None:
    for requirement in OPTIONAL[extra]:
        locked = LOCKED.get(canonicalize_name(requirement.name))
        assert locked is None or requirement.specifier.contains(locked)
        assert locked is not None or extra != "dev", requirement.name


def test_every_package_that_is_imported_is_asked_for() -> None:
    """Not left to another package that happens to bring it."""
    asked = {canonicalize_name(requirement.name) for requirement in chain(REQUIREMENTS, *OPTIONAL.values())}
    distributions = packages_distributions()
    ours = ("posttrain", "rewards", "data_mixers")
    files = [file for package in ours for file in (PROJECT / package).rglob("*.py")]
    for name in {name for file in files for name in imported_by(file)} - sys.stdlib_module_names - set(ours):
        brought_by = {canonicalize_name(distribution) for distribution in distributions.get(name, [name])}
        assert brought_by & asked, name


def imported_by(file: Path) -> set[str]:
    """The packages that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names}


def test_the_command_is_the_one_that_is_declared() -> None:
    (script,) = PYPROJECT["project"]["scripts"].items()
    assert script == ("posttrain", "posttrain.cli:main")
    (installed,) = entry_points(group="console_scripts", name="posttrain")
    assert installed.load() is cli.main
