"""Faults 2, 4 to 8 and 25: a checkpoint that was damaged is found out, and the one before it is gone on from."""

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.cases import TRAINED, again, assert_same_run, cases, checkpoints, manifest, metrics
from tests.faults.mortal import posttrain

pytestmark = pytest.mark.slow
Run = Callable[[str], Path]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Other bits in 400 bytes, the size as it was; the header of the file is left alone."""
    content = bytearray(path.read_bytes())
    for place in random.Random(0).sample(range(len(content) // 2, len(content)), 400):
        content[place] ^= 0xFF
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


FOUND = {
    cut: r"has [\d,]+ bytes, [\d,]+ were written",
    Path.unlink: "is missing",
    flip: "has another checksum",
    empty: r"has 0 bytes, [\d,]+ were written",
}


class Damage(NamedTuple):
    """A fault, and the file of a checkpoint that it is done to."""

    number: int
    how: Callable[[Path], None]
    name: str


CUT_WEIGHTS, CUT_OPTIMIZER = Damage(4, cut, "model.safetensors"), Damage(4, cut, "optimizer.pt")
NO_OPTIMIZER, NO_SCHEDULER = Damage(5, Path.unlink, "optimizer.pt"), Damage(5, Path.unlink, "scheduler.pt")
NO_RANDOM_STATE, OTHER_RANDOM_STATE = Damage(6, Path.unlink, "rng_state.pth"), Damage(6, flip, "rng_state.pth")
OTHER_WEIGHTS = Damage(7, flip, "model.safetensors")
EMPTY_STATE = Damage(8, empty, "trainer_state.json")
NOT_SEALED, HALF_A_SEAL = Damage(2, Path.unlink, "MANIFEST.json"), Damage(2, cut, "MANIFEST.json")
# Two at a time, the newest checkpoint's first: the one before them is gone on from.
DAMAGES = {
    "sft": [(CUT_WEIGHTS, NO_OPTIMIZER), (OTHER_RANDOM_STATE, OTHER_WEIGHTS), (EMPTY_STATE, NOT_SEALED)],
    "rl": [(CUT_OPTIMIZER, NO_OPTIMIZER), (NO_RANDOM_STATE, OTHER_WEIGHTS), (EMPTY_STATE, HALF_A_SEAL)],
    "pref": [(OTHER_WEIGHTS, NO_SCHEDULER), (OTHER_RANDOM_STATE, CUT_OPTIMIZER), (HALF_A_SEAL, EMPTY_STATE)],
    "context": [(CUT_WEIGHTS, NO_SCHEDULER), (NO_RANDOM_STATE, OTHER_WEIGHTS), (NOT_SEALED, EMPTY_STATE)],
}


def damages() -> Iterator[Any]:
    for stage, pairs in DAMAGES.items():
        for pair in pairs:
            marks = [pytest.mark.fault(each.number, f"{each.how.__name__} {each.name}", stage=stage) for each in pair]
            yield pytest.param(stage, pair, marks=marks, id=f"{stage}-" + "-".join(each.name for each in pair))


@pytest.mark.parametrize(("stage", "pair"), damages())
def test_the_checkpoint_before_damaged_ones_is_gone_on_from(
    stage: str, pair: tuple[Damage, Damage], whole: Run, interrupted: Run
) -> None:
    run = interrupted(stage)
    folders = [run / "checkpoints" / name for name in ("checkpoint-6", "checkpoint-4")]
    for damage, folder in zip(pair, folders, strict=True):
        damage.how(folder / damage.name)
    left = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    ended = again(stage, run)
    assert ended.code == 0, ended.err
    for damage, folder, files in zip(pair, folders, left, strict=True):
        found = "cannot be read: .*" if damage in (HALF_A_SEAL,) else FOUND[damage.how]
        broken = folder.with_name(f"{folder.name}.broken")
        told = rf"{folder.name} is broken, {damage.name} {found} \(it is {broken.name} now\)"
        assert re.search(told, ended.out), ended.out
        assert sorted(path.name for path in broken.iterdir()) == files
    assert "going on from checkpoint-2\n" in ended.out
    assert_same_run(run, whole(stage))


@pytest.mark.parametrize(
    "stage", cases({25: "a broken one among three, a limit of two", 26: "times reversed"}, *TRAINED)
)
def test_whole_checkpoints_alone_are_rotated_by_step_whatever_the_clock_says(
    stage: str, whole: Run, interrupted: Run
) -> None:
    run = interrupted(stage)
    cut(run / "checkpoints" / "checkpoint-4" / "model.safetensors")
    for step in (2, 4, 6):
        os.utime(run / "checkpoints" / f"checkpoint-{step}", (2e9 - step, 2e9 - step))
    ended = again(stage, run)
    assert ended.code == 0, ended.err
    assert checkpoints(run) == ["checkpoint-4", "checkpoint-6", "checkpoint-8"]
    assert_same_run(run, whole(stage))


@pytest.mark.fault(25, "every checkpoint is broken", stage="sft")
def test_a_run_without_a_whole_checkpoint_begins_again_only_when_told_to(whole: Run, interrupted: Run) -> None:
    run = interrupted("sft")
    for step in (2, 4, 6):
        (run / "checkpoints" / f"checkpoint-{step}" / "optimizer.pt").unlink()
    for _ in range(2):  # renamed by the first attempt, and not forgotten by the second
        refused = again("sft", run)
        assert refused.code == 2
        assert refused.err.count("\n") == 1
        assert "is whole: checkpoint-6" in refused.err
        assert "--resume-anyway" in refused.err
        assert checkpoints(run) == [f"checkpoint-{step}.broken" for step in (2, 4, 6)]
    assert max(line["step"] for line in metrics(run)) == 6
    ended = again("sft", run, "--resume-anyway")
    assert ended.code == 0, ended.err
    assert "beginning again" in ended.out
    assert_same_run(run, whole("sft"))


@pytest.mark.faults
def test_another_number_of_processes_is_refused_unless_anyway(interrupted: Run) -> None:
    run = interrupted("sft")
    refused = again("sft", run, processes=2)
    assert refused.code == 2
    assert "checkpoint-6: it is of a run with 1 processes, this one has 2; " in refused.err
    ended = again("sft", run, "--resume-anyway", processes=2)
    assert ended.code == 0, ended.err
    assert [line["step"] for line in metrics(run)] == list(range(1, 9))
    assert "it is of a run with 1 processes" in str(manifest(run)["resumed"][-1]["despite"])


@pytest.mark.faults
def test_a_checkpoint_of_another_recipe_is_refused(interrupted: Run, workplace: Path) -> None:
    other = interrupted("pref")
    run = interrupted("sft")
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(other / "checkpoints", run / "checkpoints")
    refused = again("sft", run)
    assert refused.code == 2
    assert "checkpoint-6: it is of another recipe; " in refused.err
    assert "checkpoint-6: it is of another data; " in refused.err


@pytest.mark.faults
def test_every_change_is_named_and_gone_on_with_anyway(interrupted: Run, workplace: Path) -> None:
    run = interrupted("sft")
    change = ("trainer.learning_rate=1e-3", "trainer.weight_decay=0.1")
    refused = again("sft", run, *change)
    assert refused.code == 2
    assert "trainer.learning_rate was 0.01 and is now 0.001; " in refused.err
    assert "trainer.weight_decay was None and is now 0.1; " in refused.err
    ended = posttrain("sft", "sft.yaml", f"run={run.name}", *change, "--resume-anyway", cwd=workplace)
    assert ended.code == 0, ended.err
    assert "going on from checkpoint-6" in ended.out
    assert len(manifest(run)["resumed"][-1]["despite"]) == 3  # both, and the checkpoint's own recipe
