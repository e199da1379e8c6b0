"""The memory that this process may still take, of the machine's and of its container's."""

from collections.abc import Iterator
from pathlib import Path

import psutil

from posttrain.doctor.finding import Finding, fix, ok, warning

GIB = 2**30
CGROUP = Path("/sys/fs/cgroup")
LEAST = 2 * GIB  # what a stage of the demo takes
COMFORTABLE = 8 * GIB


def check_memory(cgroup: Path = CGROUP) -> Iterator[Finding]:
    """What is available, and whose limit it is.

    Args:
        cgroup: where the files of the control group are, version 2.
    """
    memory = psutil.virtual_memory()
    left = _left_in(cgroup)
    if left is not None and left[0] < memory.available:
        yield judge_memory(*left, "of the container's limit")
    else:
        yield judge_memory(memory.available, memory.total, "of this machine")


def judge_memory(available: int, total: int, whose: str) -> Finding:
    """Both in bytes."""
    found = f"{available / GIB:.1f} of {total / GIB:.0f} GiB free ({whose})"
    if available < LEAST:
        return fix("memory", found, "a stage of the demo takes 2 GiB: end other programs, or raise the limit")
    if available < COMFORTABLE:
        return warning("memory", found, "enough for the demo; `posttrain check RECIPE` says what a recipe takes")
    return ok("memory", found)


def _left_in(cgroup: Path) -> tuple[int, int] | None:
    """Bytes left and the limit; None where there is no limit."""
    try:
        limit = (cgroup / "memory.max").read_text(encoding="utf-8").strip()
        used = int((cgroup / "memory.current").read_text(encoding="utf-8"))
        # The cache of files is counted as used, and is given up when something else needs the room.
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text(encoding="utf-8").splitlines())
    except OSError:
        return None
    if limit == "max":
        return None
    return int(limit) - used + int(stat.get("inactive_file", 0)), int(limit)
