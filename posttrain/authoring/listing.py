"""`posttrain rewards list`: every reward of the package, by the name that a recipe gives it."""

import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

import rewards
from posttrain.terminal import console
from rewards.contract import grades_groups, make_attempt

WIDTH = 80  # columns


class Listed(NamedTuple):
    """A reward: the recipe's `use`, what it is for, whether it says right or wrong, and its settings."""

    use: str
    summary: str
    has_outcome: bool
    settings: str


def list_rewards() -> int:
    """Print the rewards of the package as a table; the exit code."""
    table = Table(box=box.SIMPLE_HEAD, width=WIDTH, padding=(0, 1), show_lines=True)
    table.add_column("use")
    table.add_column("outcome", justify="center")
    for one in find_rewards():
        cell = Text.assemble((one.use, "bold"), "\n", one.summary, (f"\nargs: {one.settings}" if one.settings else ""))
        table.add_row(cell, "yes" if one.has_outcome else "no")
    console.print(table, soft_wrap=False)
    console.print("outcome: says whether an answer is correct; to write your own: rewards/README.md")
    return 0


def find_rewards() -> list[Listed]:
    """The rewards of the package: those of modules that show an `EXAMPLE`."""
    names = [module.name for module in pkgutil.iter_modules(rewards.__path__) if not module.name.startswith("_")]
    modules = [importlib.import_module(f"rewards.{name}") for name in names]
    return [_listed(module) for module in modules if hasattr(module, "EXAMPLE")]


def _listed(module: ModuleType) -> Listed:
    reward = module.EXAMPLE
    named = reward if inspect.isroutine(reward) else type(reward)
    summary = (inspect.getdoc(named) or inspect.getdoc(module) or "").partition("\n")[0]
    settings = str(inspect.signature(named)).strip("()").partition(") ->")[0] if isinstance(named, type) else ""
    settings = re.sub(r"\b(?:\w+\.)+(?=[A-Z]\w*)", "", settings)  # Judge, not rewards._judge.judge.Judge
    return Listed(f"{module.__name__}:{named.__name__}", summary, _has_outcome(module), settings)


def _has_outcome(module: ModuleType) -> bool:
    """Whether the example says that its first full success is correct."""
    if grades_groups(module.EXAMPLE):
        group, row = next((fields, row) for fields, row, scores in module.CASES if 1.0 in scores)
        return any(verdict.outcome for verdict in module.EXAMPLE([make_attempt(fields, row) for fields in group]))
    fields, row = next((fields, row) for fields, row, score in module.CASES if score == 1.0)
    return module.EXAMPLE(make_attempt(fields, row)).outcome is not None
