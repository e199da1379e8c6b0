"""All checks, one line each in 80 columns, and whether something has to be fixed."""

import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rich.text import Text

from posttrain.doctor.devices import check_devices
from posttrain.doctor.disk import check_disk
from posttrain.doctor.endpoints import check_endpoints
from posttrain.doctor.finding import Finding, State, warning
from posttrain.doctor.kernels import check_kernels
from posttrain.doctor.limits import check_limits
from posttrain.doctor.memory import check_memory
from posttrain.doctor.network import check_network
from posttrain.doctor.sandbox import check_sandbox
from posttrain.doctor.trackers import check_trackers
from posttrain.doctor.versions import check_versions
from posttrain.recipe import AnyRecipe
from posttrain.terminal import console

WIDTH = 80
STATE_WIDTH, WHAT_WIDTH = 9, 17
STYLES = {State.OK: "green", State.WARNING: "yellow", State.FIX: "bold red"}

Check = Callable[[], Iterator[Finding]]


def examine(recipe: AnyRecipe | None = None) -> int:
    """Print what was found, also for what `recipe` asks for.

    Returns:
        The exit code: 1 when something has to be fixed, else 0.
    """
    states = []
    for name, check in _checks(recipe).items():
        for finding in findings(name, check):
            console.print(_lines(finding), soft_wrap=True)
            states.append(finding.state)
    num_fixes, num_warnings = states.count(State.FIX), states.count(State.WARNING)
    console.print(f"\n{len(states)} checks: {num_fixes} to fix, {num_warnings} warnings")
    return 1 if num_fixes else 0


def findings(name: str, check: Check) -> Iterator[Finding]:
    """Those of one check; one that breaks is a finding, too, and the others go on."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001  the border to a machine of which nothing is known
        told = f"could not be looked at: {type(error).__name__}: {error}"
        yield warning(name, told, "the other lines do not depend on it; please report this one")


def _checks(recipe: AnyRecipe | None) -> dict[str, Check]:
    runs = Path("runs") if recipe is None else Path(recipe.run)
    checks: dict[str, Check] = {
        "versions": check_versions,
        "devices": check_devices,
        "memory": check_memory,
        "kernels": check_kernels,
        "sandbox": check_sandbox,
        "disk": partial(check_disk, runs),
        "limits": check_limits,
        "network": check_network,
    }
    if recipe is not None:
        checks |= {"endpoints": partial(check_endpoints, recipe), "trackers": partial(check_trackers, recipe)}
    return checks


def _lines(finding: Finding) -> Text:
    """The finding and, below it, the advice; a word that is longer than the line stays whole, to be copied."""
    head = f"{finding.state:<{STATE_WIDTH}}{finding.what:<{WHAT_WIDTH}}"
    margin = " " * len(head)
    lines = [
        line
        for indent, text in ((head, finding.found), (f"{margin}-> ", finding.advice))
        if text
        for line in textwrap.wrap(
            " ".join(text.split()),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=margin if indent is head else f"{margin}   ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
    told = Text("\n".join(lines))
    told.stylize(STYLES[finding.state], 0, len(finding.state))
    return told
