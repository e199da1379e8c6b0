"""Room where runs, caches and temporary files go."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from posttrain.doctor.finding import Finding, fix, ok, warning

GIB = 2**30
LEAST = GIB
COMFORTABLE = 20 * GIB  # a float32 checkpoint of a 1.28 B model: 12 bytes a parameter with Adam, 15 GB
SHARED_MEMORY = Path("/dev/shm")
LEAST_SHARED = GIB
MOVE = "move it: run=FOLDER, HF_HOME=FOLDER or TMPDIR=FOLDER"


def check_disk(runs: Path) -> Iterator[Finding]:
    """A line for each place.

    Args:
        runs: where the run folder is, or will be.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    for what, place in {
        "runs": runs,
        "hub cache": Path(HF_HUB_CACHE),
        "temporary": Path(tempfile.gettempdir()),
    }.items():
        yield check_place(f"disk: {what}", place)
    yield check_shared_memory()


def check_place(what: str, place: Path) -> Finding:
    """Whether there is room, and it can be written to; a folder that is not there yet would be made."""
    place = place.absolute()
    folder = next(above for above in (place, *place.parents) if above.is_dir())
    if not os.access(folder, os.W_OK | os.X_OK):
        return fix(what, f"{place}: {folder} cannot be written to", f"chown or chmod it, or {MOVE}")
    free = shutil.disk_usage(folder).free
    found = f"{place}: {free / GIB:.1f} GiB free"
    if free < LEAST:
        return fix(what, found, f"make room, or {MOVE}")
    if free < COMFORTABLE:
        return warning(what, found, f"a checkpoint of a 1.2 B model takes about 15 GB: make room, or {MOVE}")
    return ok(what, found)


def check_shared_memory(place: Path = SHARED_MEMORY) -> Finding:
    """What processes of one machine hand each other: data loaders, NCCL, vLLM with several GPUs."""
    advice = "in Docker --shm-size=8g, in Kubernetes an emptyDir with `medium: Memory` there"
    if not place.is_dir():
        return fix("shared memory", f"there is no {place}", advice)
    free = shutil.disk_usage(place).free
    found = f"{place}: {free / GIB:.2g} GiB free"
    return ok("shared memory", found) if free >= LEAST_SHARED else warning("shared memory", found, advice)
