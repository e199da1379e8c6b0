"""How safely this machine runs the code that a model writes."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping

from posttrain.doctor.finding import Finding, fix, ok, warning
from rewards._sandbox.landlock import abi_version
from rewards._sandbox.process import Tier
from rewards._sandbox.tiers import ADVICE, fault


def check_sandbox(is_needed: bool) -> Iterator[Finding]:
    """The best tier that this machine gives.

    Args:
        is_needed: whether a recipe has a model's code run.
    """
    yield judge_sandbox({tier: fault(tier) for tier in ADVICE}, is_needed=is_needed)


def judge_sandbox(faults: Mapping[Tier, str | None], *, is_needed: bool) -> Finding:
    """What `code_tests` does here, and how to do better; `faults`: why a tier is not given, None where it is."""
    if faults[Tier.BUBBLEWRAP] is None:
        return ok("sandbox", f"A, the better of two: {_bubblewrap()} and seccomp")
    if faults[Tier.LANDLOCK] is None:
        found = f"B: Landlock ABI {abi_version()} and seccomp; not A: {faults[Tier.BUBBLEWRAP]}"
        return warning("sandbox", found, f"for A {ADVICE[Tier.BUBBLEWRAP]}")
    found = f"none, so code_tests refuses to run; not A: {faults[Tier.BUBBLEWRAP]}; not B: {faults[Tier.LANDLOCK]}"
    say = fix if is_needed else warning
    return say("sandbox", found, "; or ".join(ADVICE.values()))


def _bubblewrap() -> str:
    path = shutil.which("bwrap")
    if path is None:
        return "bubblewrap"
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip() or path
