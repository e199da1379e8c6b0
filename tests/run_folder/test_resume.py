"""What a resumed run keeps, and when a run counts as finished."""

import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.run_folder.files import keep_steps
from posttrain.run_folder.reuse import first_difference
from posttrain.runs import append_json_lines, is_finished, write_json_atomically
from tests.run_folder.conftest import RECIPE, lines, manifest, python, started, stopped


def test_killed_run_goes_on_after_its_last_whole_line(folder: Path, data: Path) -> None:
    code = """
        import os, pathlib, signal, sys
        from posttrain.runs import Run
        folder, data, recipe = sys.argv[1:]
        run = Run.start(folder, "sft", recipe, 3, [pathlib.Path(data)], "hi", False)
        run.append_metrics(1, {"loss": 2.0})
        with open(run.folder / "metrics.jsonl", "a") as file:
            file.write('{"step": 2, "time": 9')
        with open(run.folder / "samples.jsonl", "ab") as file:
            file.write('{"answer": "답'.encode()[:-1])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = python(code, folder, data, RECIPE, RANK="0")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert manifest(folder)["status"] == "running"
    with started(folder, data, resume=True) as run:
        run.append_metrics(2, {"loss": 1.0})
        assert manifest(folder)["status"] == "running"
    assert [(line["step"], line["loss"]) for line in lines(folder / "metrics.jsonl")] == [(1, 2.0), (2, 1.0)]
    assert (folder / "samples.jsonl").read_bytes() == b""
    written = manifest(folder)
    assert written["status"] == "finished"
    assert [sorted(entry) for entry in written["resumed"]] == [["at", "git_revision", "versions"]]


def test_a_line_that_lacks_its_end_alone_is_dropped_too(folder: Path, data: Path) -> None:
    """The next one would be written behind it, and both be lost."""
    with suppress(ZeroDivisionError), started(folder, data) as run:
        run.append_metrics(1, {"loss": 2.0})
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 2, "loss": 9.0}')
        raise ZeroDivisionError
    with started(folder, data, resume=True) as run:
        run.append_metrics(2, {"loss": 1.0})
    assert [(line["step"], line["loss"]) for line in lines(folder / "metrics.jsonl")] == [(1, 2.0), (2, 1.0)]


def test_the_clock_goes_on_from_the_last_line_where_the_manifest_knows_of_less(folder: Path, data: Path) -> None:
    with suppress(ZeroDivisionError), started(folder, data):
        append_json_lines(folder / "metrics.jsonl", [{"step": 1, "time": 1000.0}])
        raise ZeroDivisionError
    with started(folder, data, resume=True) as run:
        run.append_metrics(2, {"loss": 1.0})
    assert lines(folder / "metrics.jsonl")[-1]["time"] >= 1000


def test_the_clock_of_a_file_is_its_latest_line_the_dropped_ones_too(tmp_path: Path) -> None:
    times = {1: 3.0, 2: 9.0, 3: 4.0}
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "time": time}) + "\n" for step, time in times.items()))
    assert keep_steps(path, 1) == 9.0
    assert [line["step"] for line in lines(path)] == [1]


def test_resumed_run_forgets_the_old_error_and_its_clock_goes_on(folder: Path, data: Path) -> None:
    with pytest.raises(RuntimeError), started(folder, data):
        raise RuntimeError("no")
    content = manifest(folder)
    write_json_atomically(folder / "manifest.json", content | {"seconds": 100.0})
    with started(folder, data, resume=True) as run:
        assert manifest(folder)["finished"] is None
        run.append_metrics(1, {})
    written = manifest(folder)
    assert written["notes"] == {}
    assert written["started"] == content["started"]
    assert 100 <= written["seconds"] < 160
    assert lines(folder / "metrics.jsonl")[0]["time"] >= 100


def test_lines_past_the_checkpoint_are_dropped_from_metrics_and_samples(folder: Path, data: Path) -> None:
    with started(folder, data) as run:
        for step in (1, 2, 3, 4):
            run.append_metrics(step, {"loss": 1.0})
            run.append_samples([{"step": step, "answer": "a"}, {"step": step, "answer": "b\u2028"}])
        append_json_lines(folder / "culprits.jsonl", [{"step": 2, "text": "a"}, {"step": 3, "text": "b"}])
        run.truncate_metrics(after_step=2)
        run.append_metrics(3, {"loss": 0.5})
    assert [line["step"] for line in lines(folder / "metrics.jsonl")] == [1, 2, 3]
    assert [line["step"] for line in lines(folder / "samples.jsonl")] == [1, 1]  # those of step 2 come after it
    assert [line["step"] for line in lines(folder / "culprits.jsonl")] == [2]


def test_dropping_lines_without_any_file_does_nothing(folder: Path, data: Path) -> None:
    with started(folder, data) as run:
        run.truncate_metrics(after_step=0)
    assert not (folder / "metrics.jsonl").exists()


def test_finished_needs_the_same_recipe_and_data(folder: Path, data: Path) -> None:
    assert not is_finished(folder, RECIPE)
    stopped(folder, data)
    assert not is_finished(folder, RECIPE)
    with started(folder, data, resume=True):
        pass
    assert is_finished(folder, RECIPE)
    with pytest.raises(UserError, match="seed was 3 and is now 4"):
        is_finished(folder, RECIPE.replace("seed: 3", "seed: 4"))
    data.write_text("changed")
    with pytest.raises(UserError, match=r"rows\.jsonl has changed"):
        is_finished(folder, RECIPE)
    data.unlink()
    assert is_finished(folder, RECIPE)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1, "b": [1, {"c": 2}]}, {"a": 1, "b": [1, {"c": 3}]}, ("b.1.c", 2, 3)),
        ({"a": [1]}, {"a": [1, 2]}, ("a", [1], [1, 2])),
        ({"a": 1}, {"a": True}, ("a", 1, True)),
        ({"a": {}}, {"a": None}, ("a", {}, None)),
        ({"a": {"b": [1]}}, {"a": {"b": [1]}}, None),
    ],
)
def test_first_difference_has_the_key_path_and_both_values(old: Any, new: Any, expected: Any) -> None:
    assert first_difference(old, new) == expected
