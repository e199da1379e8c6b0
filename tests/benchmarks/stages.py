"""How the benchmarks run a stage: in a process of its own, and not again where it is finished."""

import subprocess
import sys


def run_stage(stage: str, recipe: str, *overrides: str, check: bool = True) -> None:
    """`posttrain STAGE recipes/RECIPE.yaml key=value ...`, taken up again where it was stopped.

    Raises:
        CalledProcessError: it failed; without `check` that is a result like any other.
    """
    command = [sys.executable, "-m", "posttrain", stage, f"recipes/{recipe}.yaml", *overrides]
    subprocess.run([*command, "--resume", "--skip-finished"], check=check)
