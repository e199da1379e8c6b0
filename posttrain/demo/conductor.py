"""`make demo`: every stage of the recipe, one process each, as a user would call them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.markup import escape

from posttrain.demo.prepare import prepare
from posttrain.errors import UserError
from posttrain.recipe import SHIPPED
from posttrain.terminal import say

RECIPES = SHIPPED / "demo"
# (what it is, command, recipe, overrides)
STEPS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("unified SFT", "sft", "sft", ()),
    ("evaluation after SFT", "eval", "eval", ("model.path=${root}/sft/model", "run=${root}/eval-sft", "label=SFT")),
    ("AGAPO", "rl", "rl", ()),
    ("evaluation after AGAPO", "eval", "eval", ("model.path=${root}/rl/model", "run=${root}/eval-rl", "label=AGAPO")),
    ("pairs for stage 1", "pairs", "pairs-stage1", ()),
    ("SimPER stage 1", "pref", "pref-stage1", ()),
    (
        "evaluation after stage 1",
        "eval",
        "eval",
        ("model.path=${root}/pref-stage1/model", "run=${root}/eval-pref-stage1", "label=SimPER stage 1"),
    ),
    ("pairs for stage 2", "pairs", "pairs-stage2", ()),
    ("SimPER stage 2", "pref", "pref-stage2", ()),
    (
        "evaluation after stage 2",
        "eval",
        "eval",
        ("model.path=${root}/pref-stage2/model", "run=${root}/eval-pref-stage2", "label=SimPER stage 2"),
    ),
    ("what each mode costs and gives", "eval", "profile", ()),
    ("report", "report", "report", ()),
)


def run_demo(root: Path, seed: int) -> None:
    """Run every step; finished ones are skipped and an unfinished one goes on, so calling it again continues.

    Raises:
        UserError: a step failed.
    """
    began = time.monotonic()
    say(f"[bold]demo[/bold]  seed {seed}, folder {escape(str(root))}")
    say(f"[bold]0/{len(STEPS)}  data, tokenizer and tiny model[/bold]")
    prepare(root, seed)
    for number, (what, command, recipe, overrides) in enumerate(STEPS, start=1):
        say(f"[bold]{number}/{len(STEPS)}  {what}[/bold]")
        arguments = [str(RECIPES / f"{recipe}.yaml"), f"root={root}", f"seed={seed}", *overrides]
        options = [] if command == "report" else ["--resume", "--skip-finished"]
        step_began = time.monotonic()
        status = _call([sys.executable, "-m", "posttrain", command, *arguments, *options])
        if status:
            raise UserError(
                f"'{what}' ended with code {status}; its own message is above, and the same command goes on from there"
            )
        say(f"[dim]  {time.monotonic() - step_began:.0f} s[/dim]")
    say(f"demo done in {(time.monotonic() - began) / 60:.1f} minutes")


def _call(command: list[str]) -> int:
    """Run one step and return its exit code; an interrupt is handed on once, and the step's last words are awaited.

    The step has a session of its own: the terminal would otherwise interrupt it a second time while it cleans up.
    """
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
