"""What a person sees in the terminal: plain lines, the same in a pipe."""

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# In a pipe rich would assume 80 columns, too few for the stage table.
console = Console(highlight=False, soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 110)


def progress_line(name: str, step: int, steps: int, seconds_left: float, figures: Mapping[str, float]) -> None:
    """One line of progress, for instance `sft  300/1500  1:40 left  loss 0.21`."""
    minutes, seconds = divmod(round(seconds_left), 60)
    values = "  ".join(f"{key} {value:.3g}" for key, value in figures.items())
    console.print(f"  {escape(name)}  {step}/{steps}  {minutes}:{seconds:02d} left  [dim]{values}[/dim]")


def say(text: str) -> None:
    """A line, with rich's markup: `rich.markup.escape` what the user wrote."""
    console.print(text)


def say_plan(recipe_yaml: str, plan: Mapping[str, str | Table]) -> None:
    """A recipe, and what it comes to: a line or a table for each entry of the plan."""
    say(escape(recipe_yaml.rstrip()))
    say("")
    for what, value in plan.items():
        if isinstance(value, Table):
            console.print(value, soft_wrap=False)
        else:
            say(escape(f"{what:<12} {value}"))
