"""All checks, one line each in 80 columns, and whether something has to be fixed.

It has to work where packages are missing: only the standard library is imported here, and each check by its name.
"""

import os
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.doctor.finding import Finding, State, fix, warning

if TYPE_CHECKING:
    from posttrain.recipe import AnyRecipe

WIDTH = 80
STATE_WIDTH, WHAT_WIDTH = 9, 17
COLORS = {State.OK: "32", State.WARNING: "33", State.FIX: "1;31"}  # green, yellow, bold red


def examine(recipe: "AnyRecipe | None" = None) -> int:
    """Print what was found, also for what `recipe` asks for.

    Returns:
        The exit code: 1 when something has to be fixed, else 0.
    """
    states = []
    for name, arguments in _checks(recipe).items():
        for finding in findings(name, *arguments):
            sys.stdout.write(f"{_lines(finding)}\n")
            sys.stdout.flush()
            states.append(finding.state)
    num_fixes, num_warnings = states.count(State.FIX), states.count(State.WARNING)
    sys.stdout.write(f"\n{len(states)} checks: {num_fixes} to fix, {num_warnings} warnings\n")
    return 1 if num_fixes else 0


def findings(name: str, *arguments: Any) -> Iterator[Finding]:
    """What `check_<name>` of the module of that name finds; one that breaks is a finding, too, and the others go on."""
    try:
        yield from getattr(import_module(f"posttrain.doctor.{name}"), f"check_{name}")(*arguments)
    except ImportError as error:
        advice = "install posttrain again, with what it asks for; in a checkout: make setup"
        yield fix(name, f"could not be looked at: {error}", advice)
    except Exception as error:  # noqa: BLE001  the border to a machine of which nothing is known
        told = f"could not be looked at: {type(error).__name__}: {error}"
        yield warning(name, told, "the other lines do not depend on it; please report this one")


def _checks(recipe: "AnyRecipe | None") -> dict[str, tuple[Any, ...]]:
    """Their names and what they are told."""
    runs = Path("runs") if recipe is None else Path(recipe.run)
    engine = getattr(recipe, "engine", None)
    return {
        "versions": (),
        "devices": (),
        "memory": (),
        "kernels": ("vllm" in (engine, getattr(engine, "name", None)),),
        "sandbox": (_runs_code(recipe),),
        "disk": (runs,),
        "limits": (),
        "network": (),
        **({} if recipe is None else {"endpoints": (recipe,), "trackers": (recipe,)}),
    }


def _runs_code(recipe: "AnyRecipe | None") -> bool:
    """Whether the model's answers are run."""
    specs = [*getattr(recipe, "rewards", []), *getattr(recipe, "benchmarks", [])]
    return any(spec.use.startswith(("rewards.code_tests:", "human_eval")) for spec in specs)


def _lines(finding: Finding) -> str:
    """The finding and, below it, the advice; a word that is longer than the line stays whole, to be copied."""
    head = f"{finding.state:<{STATE_WIDTH}}{finding.what:<{WHAT_WIDTH}}"
    margin = " " * len(head)
    lines = _wrapped(finding.found, head, margin)
    if finding.advice:
        lines += _wrapped(finding.advice, f"{margin}-> ", f"{margin}   ")
    text = "\n".join(lines)
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{COLORS[finding.state]}m{finding.state}\x1b[0m{text.removeprefix(finding.state)}"


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
