import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from posttrain.doctor import disk
from posttrain.doctor.disk import check_disk, check_place, check_shared_memory

GIB = 2**30


def leave(free_gib: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system say that so much is free."""
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=int(free_gib * GIB)))


@pytest.mark.parametrize(("free_gib", "state"), [(0.5, "fix"), (5, "warning"), (50, "ok")])
def test_room_for_runs(free_gib: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(free_gib, monkeypatch)
    finding = check_place("disk: runs", tmp_path)
    assert (finding.state, finding.found) == (state, f"{tmp_path}: {free_gib:.1f} GiB free")
    assert ("run=FOLDER" in finding.advice) == (state != "ok")


def test_a_folder_that_is_not_there_yet_is_that_above_it(tmp_path: Path) -> None:
    assert check_place("disk: runs", tmp_path / "a" / "b").found.startswith(f"{tmp_path}/a/b: ")


def test_a_folder_that_cannot_be_written_to_is_to_be_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:  # whom no mode stops
        monkeypatch.setattr(disk.os, "access", lambda *_: False)
    tmp_path.chmod(0o500)
    finding = check_place("disk: runs", tmp_path / "run")
    assert finding.state == "fix"
    assert f"{tmp_path} cannot be written to" in finding.found


@pytest.mark.parametrize(("free_gib", "state"), [(0.0625, "warning"), (8, "ok")])
def test_shared_memory(free_gib: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(free_gib, monkeypatch)
    finding = check_shared_memory(tmp_path)
    assert finding.state == state
    assert ("--shm-size=8g" in finding.advice) == (state != "ok")


def test_no_shared_memory_is_to_be_fixed(tmp_path: Path) -> None:
    assert check_shared_memory(tmp_path / "shm").state == "fix"


def test_runs_caches_and_temporary_files_are_looked_at(tmp_path: Path) -> None:
    places = {finding.what: finding.found for finding in check_disk(tmp_path / "runs")}
    assert places["disk: runs"].startswith(str(tmp_path))
    assert set(places) == {"disk: runs", "disk: hub cache", "disk: temporary", "shared memory"}
