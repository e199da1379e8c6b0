import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.plugins import build, load_object

HOUSE = '''
"""A user's own module, next to the recipe."""
from dataclasses import dataclass

@dataclass(frozen=True)
class Short:
    limit: int = 10
    word: str = ""

    def __post_init__(self):
        if self.limit < 1:
            raise ValueError(f"limit: got {self.limit}, need at least 1")

    def __call__(self, attempt):
        return len(attempt) <= self.limit

def polite(attempt):
    return "please" in attempt

THRESHOLD = 3
'''


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with modules of the user's own; whatever they import is forgotten afterwards."""
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "__init__.py").touch()
    (tmp_path / "house" / "style.py").write_text(HOUSE)
    (tmp_path / "house" / "hungry.py").write_text("import not_installed_at_all\n")
    (tmp_path / "house" / "broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refusal(use: str, args: dict[str, Any] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        build(use, args or {}, "rewards.1")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_module_in_the_working_directory_is_found(house: Path) -> None:
    assert load_object("house.style:THRESHOLD", "rewards.0.use") == 3


def test_class_is_called_with_its_args(house: Path) -> None:
    short = build("house.style:Short", {"limit": 2}, "rewards.0")
    assert (short.limit, short.word) == (2, "")
    assert short("ab")
    assert not short("abc")


def test_plain_function_is_taken_as_it_is(house: Path) -> None:
    polite = build("house.style:polite", {}, "rewards.0")
    assert polite("please do")


def test_plain_function_with_args_is_refused(house: Path) -> None:
    message = refusal("house.style:polite", {"limit": 3})
    assert message.startswith("rewards.1.args: got limit")
    assert "plain function" in message


@pytest.mark.parametrize("use", ["house.style", "house.style:", ":polite", "house/style.py:polite", "a b:x", ""])
def test_name_of_another_form_is_refused(house: Path, use: str) -> None:
    message = refusal(use)
    assert message == f"rewards.1.use: got {use!r}, need package.module:object"


def test_missing_module_names_the_nearest_and_where_to_put_it(house: Path) -> None:
    message = refusal("house.stile:polite")
    assert message.startswith("rewards.1.use: got 'house.stile:polite'")
    assert "no module 'house.stile', did you mean 'style'?" in message
    assert str(house) in message


def test_missing_package_is_named_by_its_first_part(house: Path) -> None:
    assert "no module 'not_there_either';" in refusal("not_there_either.rewards:x")


def test_package_the_plugin_needs_is_told_from_the_plugin(house: Path) -> None:
    message = refusal("house.hungry:x")
    assert "house.hungry needs the module 'not_installed_at_all'" in message


def test_missing_object_names_the_nearest_and_the_file(house: Path) -> None:
    message = refusal("house.style:polit")
    assert "has no 'polit', did you mean 'polite'?" in message
    assert str(house / "house" / "style.py") in message


def test_unknown_argument_names_the_nearest_and_the_signature(house: Path) -> None:
    message = refusal("house.style:Short", {"limt": 3})
    assert message.startswith("rewards.1.args: ")
    assert "'limt', did you mean 'limit'?" in message
    assert "limit: int = 10" in message


@pytest.mark.parametrize(("limit", "part"), [(0, "limit: got 0, need at least 1"), ("many", "house.style:Short")])
def test_value_the_plugin_refuses_is_the_users_error(house: Path, limit: Any, part: str) -> None:
    message = refusal("house.style:Short", {"limit": limit})
    assert message.startswith("rewards.1.args: ")
    assert part in message


def test_object_that_cannot_be_called_is_refused(house: Path) -> None:
    assert "is a int, need a function or a class" in refusal("house.style:THRESHOLD")


def test_bug_in_a_plugin_flies(house: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        build("house.broken:x", {}, "rewards.0")
