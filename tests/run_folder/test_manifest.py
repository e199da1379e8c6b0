"""What the manifest says of a run, and of its end."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.run_folder.manifest import sha256_of
from tests.run_folder.conftest import RECIPE, manifest, started, stopped


def test_manifest_says_what_the_run_was_made_from(folder: Path, data: Path) -> None:
    with started(folder, data) as run:
        assert manifest(folder)["status"] == "running"
        run.finish({"tokens": 12})
    written = manifest(folder)
    assert written["stage"] == "sft"
    assert written["status"] == "finished"
    assert written["seed"] == 3
    assert written["data"] == {data.as_posix(): hashlib.sha256(b'{"a": 1}\n').hexdigest()}
    assert written["template_sha256"] == hashlib.sha256(b"hi").hexdigest()
    assert written["notes"] == {"tokens": 12}
    assert written["seconds"] >= 0
    assert written["started"] <= written["finished"]
    assert written["started"].endswith("+00:00")
    assert {"python", "torch", "transformers", "trl", "omegaconf"} <= written["versions"].keys()
    assert (folder / "recipe.yaml").read_text() == RECIPE


def test_git_revision_is_that_of_the_source(folder: Path, data: Path) -> None:
    source = Path(__file__).parent
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=source, capture_output=True, text=True, check=False)
    expected = asked.stdout.strip() if asked.returncode == 0 else None
    started(folder, data)
    assert manifest(folder)["git_revision"] == expected


def test_block_left_without_finish_counts_as_finished(folder: Path, data: Path) -> None:
    with started(folder, data):
        pass
    assert manifest(folder)["status"] == "finished"


def test_exception_is_recorded_with_its_text_and_flies_on(folder: Path, data: Path) -> None:
    with pytest.raises(RuntimeError, match="loss is not finite"), started(folder, data):
        raise RuntimeError("loss is not finite")
    written = manifest(folder)
    assert written["status"] == "failed"
    assert written["notes"] == {"error": "RuntimeError: loss is not finite"}


def test_interrupt_is_recorded_and_flies_on(folder: Path, data: Path) -> None:
    stopped(folder, data)
    assert manifest(folder)["status"] == "interrupted"


def test_missing_data_file_is_refused_before_the_folder_is_made(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.jsonl does not exist"):
        started(folder, tmp_path / "no.jsonl")
    assert not folder.exists()


def test_hash_of_a_folder_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a").write_text("1")
    (tmp_path / "d" / "sub" / "b").write_text("2")
    first = sha256_of(tmp_path / "d")
    assert sha256_of(tmp_path / "d") == first
    (tmp_path / "d" / "sub" / "b").write_text("3")
    second = sha256_of(tmp_path / "d")
    (tmp_path / "d" / "sub" / "b").rename(tmp_path / "d" / "sub" / "c")
    assert len({first, second, sha256_of(tmp_path / "d")}) == 3
