"""Faults 3 and 26: a disk that is full, a folder that cannot be written, and one that another run writes to."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrain.run_folder.checkpoints import CheckpointFolder
from tests.faults.cases import TRAINED, again, assert_same_run, cases, checkpoints, manifest
from tests.faults.mortal import posttrain, wrap
from tests.faults.sampling import GENERATE, content
from tests.faults.sampling import RECIPES as SAMPLING

pytestmark = pytest.mark.slow
Run = Callable[[str], Path]

MAX_BYTES = 400_000  # more than the weights, less than the two moments of the optimizer


def limit_files() -> None:
    """No file grows beyond a limit, as on a disk that is full: the system refuses the write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_BYTES, MAX_BYTES))


@pytest.mark.parametrize("stage", cases({3: "no write"}, *TRAINED))
def test_a_checkpoint_that_the_disk_does_not_take_leaves_the_old_one_and_nothing_else(
    stage: str, whole: Run, interrupted: Run
) -> None:
    run = interrupted(stage)
    sizes = {path.name: path.stat().st_size for path in (run / "checkpoints" / "checkpoint-6").iterdir()}
    assert sizes["model.safetensors"] < MAX_BYTES < sizes["optimizer.pt"]
    ended = again(stage, run, before=limit_files)
    assert ended.code == 2, ended.err
    error = ended.err.splitlines()[-1]
    assert error.startswith("error: checkpoint-8 could not be written to ")
    assert error.endswith(" are free; checkpoint-6 is kept: make room, then go on from it with --resume")
    assert checkpoints(run) == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    assert manifest(run)["status"] == "failed"
    ended = again(stage, run)
    assert ended.code == 0, ended.err
    assert_same_run(run, whole(stage))


@pytest.mark.parametrize(
    "stage", [pytest.param(stage, marks=pytest.mark.fault(3, "no write of a chunk", stage=stage)) for stage in SAMPLING]
)
def test_a_chunk_that_the_disk_does_not_take_stops_the_stage_and_is_sampled_anew(
    stage: str, sampled: Run, run_folder: Path
) -> None:
    words = (stage, f"{stage}.yaml", f"run={run_folder.name}")
    ended = posttrain(*words, cwd=run_folder.parent, before=limit_files_in_second_chunk)
    assert ended.code == 2, ended.err
    assert "File too large" in ended.err
    assert "make room, and the same command with --resume goes on" in ended.err
    ended = posttrain(*words, "--resume", cwd=run_folder.parent)
    assert ended.code == 0, ended.err
    assert content(stage, run_folder) == content(stage, sampled(stage))


def limit_files_in_second_chunk() -> None:
    """The limit is less than any chunk has, and more than what is said."""
    calls = 0

    def limited(original: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
        return original(*args, **kwargs)

    wrap(GENERATE, limited)


@pytest.fixture
def small_disk(workplace: Path) -> Iterator[Path]:
    """A disk of 2 MB, mounted in the working directory."""
    disk = workplace / "disk"
    disk.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.fault(3, "a disk of 2 MB", stage="sft")
def test_a_disk_with_too_little_room_stops_the_run_before_it_is_full(small_disk: Path) -> None:
    ended = posttrain("sft", "sft.yaml", "run=disk/run", "trainer.save_total_limit=9", cwd=small_disk.parent)
    assert ended.code == 2, ended.err
    kept = checkpoints(small_disk / "run")
    next_one = f"checkpoint-{2 * len(kept) + 2}"
    assert ended.err.splitlines()[-1].startswith(f"error: {next_one} needs 0.00"), ended.err
    assert f"{kept[-1]} is kept" in ended.err
    assert CheckpointFolder(small_disk / "run" / "checkpoints").newest().path is not None


@pytest.mark.fault(26, "mounted read-only", stage="all")
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(workplace: Path) -> None:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("without bubblewrap nothing can be mounted read-only here")
    folder = workplace / "read-only"
    folder.mkdir()
    words = [sys.executable, "-m", "posttrain", "sft", "sft.yaml", "run=read-only/run", "model.path=nowhere"]
    mounts = ["--bind", "/", "/", "--dev", "/dev", "--ro-bind", str(folder), str(folder), "--chdir", str(workplace)]
    source = Path(__file__).parents[2]
    done = subprocess.run(
        [bwrap, *mounts, "--setenv", "PYTHONPATH", str(source), *words], capture_output=True, text=True, check=False
    )
    if "bwrap:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot write to {folder} (Read-only file system); ")
    assert "run=<folder>" in done.stderr
