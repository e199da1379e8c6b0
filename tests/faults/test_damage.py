"""Faults 4 to 8: a checkpoint that was damaged is found out, and the one before it is gone on from."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cases import again, assert_same_run, checkpoints, manifest, metrics
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


def damage(number: int, stage: str, name: str, how: Callable[[Path], None], found: str) -> object:
    mark = pytest.mark.fault(number, f"{how.__name__} {name}", stage=stage)
    return pytest.param(stage, name, how, found, marks=mark, id=f"{stage}-{how.__name__}-{name}")


@pytest.mark.parametrize(
    ("stage", "name", "how", "found"),
    [
        damage(4, "sft", "model.safetensors", cut, r"model.safetensors has [\d,]+ bytes, [\d,]+ were written"),
        damage(4, "rl", "optimizer.pt", cut, r"optimizer.pt has [\d,]+ bytes, [\d,]+ were written"),
        damage(5, "sft", "optimizer.pt", Path.unlink, "optimizer.pt is missing"),
        damage(5, "pref", "scheduler.pt", Path.unlink, "scheduler.pt is missing"),
        damage(6, "rl", "rng_state.pth", Path.unlink, "rng_state.pth is missing"),
        damage(6, "sft", "rng_state.pth", flip, "rng_state.pth has another checksum"),
        damage(7, "pref", "model.safetensors", flip, "model.safetensors has another checksum"),
        damage(7, "rl", "model.safetensors", flip, "model.safetensors has another checksum"),
        damage(8, "sft", "trainer_state.json", empty, "trainer_state.json has 0 bytes, [0-9,]+ were written"),
        damage(2, "sft", "MANIFEST.json", Path.unlink, "MANIFEST.json is missing"),
        damage(2, "pref", "MANIFEST.json", cut, "MANIFEST.json cannot be read: .*"),
    ],
)
def test_the_checkpoint_before_a_damaged_one_is_gone_on_from(
    stage: str, name: str, how: Callable[[Path], None], found: str, whole: Run, interrupted: Run
) -> None:
    import re

    run = interrupted(stage)
    how(run / "checkpoints" / "checkpoint-6" / name)
    left = sorted(path.name for path in (run / "checkpoints" / "checkpoint-6").iterdir())
    ended = again(stage, run)
    assert ended.code == 0, ended.err
    assert re.search(rf"checkpoint-6 is broken, {found} \(it is checkpoint-6.broken now\)\n", ended.out), ended.out
    assert "going on from checkpoint-4\n" in ended.out
    assert sorted(path.name for path in (run / "checkpoints" / "checkpoint-6.broken").iterdir()) == left
    assert_same_run(run, whole(stage))


@pytest.mark.fault(25, "a broken checkpoint among three, a limit of two", stage="sft")
@pytest.mark.fault(26, "folders' times are reversed", stage="sft")
def test_whole_checkpoints_alone_are_rotated_by_step_whatever_the_clock_says(whole: Run, interrupted: Run) -> None:
    run = interrupted("sft")
    cut(run / "checkpoints" / "checkpoint-4" / "model.safetensors")
    for step in (2, 4, 6):
        os.utime(run / "checkpoints" / f"checkpoint-{step}", (2e9 - step, 2e9 - step))
    ended = again("sft", run)
    assert ended.code == 0, ended.err
    assert checkpoints(run) == ["checkpoint-4", "checkpoint-6", "checkpoint-8"]
    assert_same_run(run, whole("sft"))


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
