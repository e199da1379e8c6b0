import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.run_folder.files import json_safe, keep_steps
from posttrain.run_folder.manifest import sha256_of
from posttrain.run_folder.reuse import first_difference
from posttrain.runs import (
    Run,
    append_json_lines,
    is_finished,
    write_json_atomically,
    write_text_atomically,
    written_aside,
)

RECIPE = "stage: sft\nseed: 3\ntrainer:\n  learning_rate: 1.0e-06\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n')
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


def started(folder: Path, data: Path, *, resume: bool = False, **changed: Any) -> Run:
    settings = {"recipe_yaml": RECIPE, "seed": 3, "data_files": [data], "template": "hi", "is_main": True} | changed
    return Run.start(folder, "sft", resume=resume, **settings)


def stopped(folder: Path, data: Path) -> None:
    """Leave an interrupted run in the folder."""
    with pytest.raises(KeyboardInterrupt), started(folder, data):
        raise KeyboardInterrupt


def refusal(folder: Path, data: Path, **changed: Any) -> str:
    with pytest.raises(UserError) as caught:
        started(folder, data, **changed)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def python(code: str, *args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


# --- the manifest ---


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


# --- used folders ---


def test_folder_with_foreign_files_is_refused_and_left_alone(folder: Path, data: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    for resume in (False, True):
        message = refusal(folder, data, resume=resume)
        assert "thesis.txt" in message
        assert "run=" in message
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_file_in_the_folders_place_is_refused(folder: Path, data: Path) -> None:
    folder.parent.mkdir()
    folder.touch()
    assert "is a file" in refusal(folder, data)


def test_empty_folder_starts_also_with_resume(folder: Path, data: Path) -> None:
    folder.mkdir(parents=True)
    with started(folder, data, resume=True):
        assert manifest(folder)["resumed"] == []


def test_finished_run_is_always_refused(folder: Path, data: Path) -> None:
    with started(folder, data):
        pass
    for resume in (False, True):
        message = refusal(folder, data, resume=resume)
        assert "already finished" in message
        assert "run=" in message


def test_only_a_run_that_is_taken_up_tells_where_it_goes_on(folder: Path, data: Path) -> None:
    layout = {"world_size": 1, "sharding": None}
    with started(folder.with_name("new"), data, resume=True) as run:
        assert run.choose_checkpoint(layout).notices == []
    stopped(folder, data)
    with started(folder, data, resume=True) as run:
        assert run.choose_checkpoint(layout).notices == ["there is no whole checkpoint: beginning again"]


def test_unfinished_run_is_refused_with_a_word_on_resume(folder: Path, data: Path) -> None:
    stopped(folder, data)
    message = refusal(folder, data)
    assert "interrupted" in message
    assert "--resume" in message


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("recipe", "key", "old", "new"),
    [
        (RECIPE.replace("seed: 3", "seed: 4"), "seed", "3", "4"),
        (RECIPE.replace("1.0e-06", "1.0e-05"), "trainer.learning_rate", "1e-06", "1e-05"),
        (RECIPE + "  max_steps: 5\n", "trainer.max_steps", "None", "5"),
        (RECIPE.replace("trainer:\n  learning_rate: 1.0e-06\n", ""), "trainer", "{'learning_rate': 1e-06}", "None"),
    ],
)
def test_changed_recipe_names_the_first_key_and_both_values(
    folder: Path, data: Path, resume: bool, recipe: str, key: str, old: str, new: str
) -> None:
    stopped(folder, data)
    message = refusal(folder, data, recipe_yaml=recipe, resume=resume)
    assert f"{key} was {old} and is now {new};" in message
    assert message.endswith("or go on all the same with --resume-anyway")


def test_changed_data_is_refused_by_name(folder: Path, data: Path) -> None:
    stopped(folder, data)
    data.write_text('{"a": 2}\n')
    assert f"{data} has changed since" in refusal(folder, data, resume=True)


def test_changed_template_is_refused(folder: Path, data: Path) -> None:
    stopped(folder, data)
    assert "chat template has changed" in refusal(folder, data, template="hello", resume=True)


def test_every_difference_is_named_and_with_anyway_it_is_written_down(folder: Path, data: Path) -> None:
    stopped(folder, data)
    data.write_text('{"a": 2}\n')
    other = RECIPE.replace("seed: 3", "seed: 4").replace("1.0e-06", "0.1")
    message = refusal(folder, data, recipe_yaml=other, template="hello", resume=True)
    for part in (
        "seed was 3 and is now 4; ",
        "learning_rate was 1e-06 and is now 0.1; ",
        f"{data} has changed",
        "template",
    ):
        assert part in message
    run = started(folder, data, recipe_yaml=other, template="hello", resume="anyway")
    assert len(manifest(folder)["resumed"][-1]["despite"]) == 4
    del run  # as when its process dies
    with started(folder, data, recipe_yaml=other, template="hello", resume=True):  # from now on this is the run
        assert manifest(folder)["data"] == {data.as_posix(): sha256_of(data)}
        assert "despite" not in manifest(folder)["resumed"][-1]


def test_damaged_manifest_is_refused(folder: Path, data: Path) -> None:
    stopped(folder, data)
    (folder / "manifest.json").write_text("{")
    assert "manifest.json is not JSON" in refusal(folder, data, resume=True)
    (folder / "manifest.json").write_text("{}")
    assert "not the manifest of a run" in refusal(folder, data, resume=True)


def test_missing_recipe_in_a_used_folder_is_refused(folder: Path, data: Path) -> None:
    stopped(folder, data)
    (folder / "metrics.jsonl").touch()
    (folder / "recipe.yaml").unlink()
    assert "recipe.yaml cannot be read" in refusal(folder, data, resume=True)


def test_folder_with_a_manifest_alone_starts_afresh(folder: Path, data: Path) -> None:
    stopped(folder, data)
    (folder / "recipe.yaml").unlink()
    (folder / ".manifest.json.17.aside").write_text("{")
    with started(folder, data, recipe_yaml="stage: rl\n"):
        assert manifest(folder)["resumed"] == []


@pytest.mark.fault(26, "two runs in one folder", stage="all")
def test_run_in_use_is_refused_until_it_ends(folder: Path, data: Path) -> None:
    code = """
        import pathlib, sys
        from posttrain.runs import Run
        folder, data, recipe = sys.argv[1:]
        Run.start(folder, "sft", recipe, 3, [pathlib.Path(data)], "hi", True, is_main=True)
    """
    run = started(folder, data)
    second = python(code, folder, data, RECIPE)
    assert "in use by another process" in second.stderr
    assert manifest(folder)["resumed"] == []
    del run  # as when its process dies
    assert python(code, folder, data, RECIPE).returncode == 0
    assert len(manifest(folder)["resumed"]) == 1


# --- resume ---


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


# --- finished runs ---


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


# --- what is written ---


def test_metrics_are_one_json_object_a_line_with_null_for_what_is_not_finite(folder: Path, data: Path) -> None:
    with started(folder, data) as run:
        run.append_metrics(1, {"loss": 0.5, "kl": float("nan"), "entropy": float("-inf"), "rollout/weights_in_sync": 1})
        run.append_metrics(2, {"loss": 0.25})
    first, second = lines(folder / "metrics.jsonl")
    assert (first["step"], first["loss"], first["kl"], first["entropy"]) == (1, 0.5, None, None)
    assert (second["step"], second["loss"]) == (2, 0.25)
    assert 0 <= first["time"] <= second["time"]


def test_metrics_are_on_disk_before_the_call_returns(folder: Path, data: Path) -> None:
    run = started(folder, data)
    run.append_metrics(1, {"loss": 0.5})
    assert lines(folder / "metrics.jsonl")[0]["loss"] == 0.5


def test_sample_with_any_text_stays_one_line(folder: Path, data: Path) -> None:
    answer = 'a\nb\r\u2028c\u2029d\x85e\x0b "정답" \ud800'
    with started(folder, data) as run:
        run.append_samples([{"step": 1, "answer": answer, "reward": float("nan"), "prompt": [{"role": "user"}]}])
    text = (folder / "samples.jsonl").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1
    assert "정답" in text
    assert json.loads(text) == {"step": 1, "answer": answer, "reward": None, "prompt": [{"role": "user"}]}


def test_scalars_of_other_libraries_become_numbers() -> None:
    class Scalar:
        def item(self) -> float:
            return float("nan")

    assert json_safe({"a": Scalar(), 1: (1, 2.5, Path("x"))}) == {"a": None, "1": [1, 2.5, "x"]}


# --- several processes ---


def test_other_ranks_write_nothing_and_are_never_refused(folder: Path, data: Path) -> None:
    with started(folder, data, is_main=False) as run:
        run.append_metrics(1, {"loss": 1.0})
        run.append_samples([{"step": 1}])
        run.truncate_metrics(0)
        run.finish({"a": 1})
    assert not run.is_main
    assert not folder.exists()
    with started(folder, data), started(folder, data, is_main=False) as other:
        assert other.facts() == {}
    with pytest.raises(RuntimeError), started(folder, data, is_main=False):
        raise RuntimeError
    assert manifest(folder)["status"] == "finished"


@pytest.mark.parametrize(("rank", "is_main"), [(None, True), ("0", True), ("1", False)])
def test_rank_zero_is_the_one_that_writes(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch, rank: str | None, is_main: bool
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert started(folder, data, is_main=None).is_main is is_main
    assert folder.exists() is is_main


# --- atomic writes ---


def test_writer_that_is_killed_mid_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_text_atomically(path, "old")
    code = """
        import os, pathlib, signal, sys
        from posttrain.runs import write_text_atomically
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        write_text_atomically(pathlib.Path(sys.argv[1]), "new" * 100_000)
    """
    killed = python(code, path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert path.read_text() == "old"


def test_reader_sees_the_old_text_or_the_new_one_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    texts = {"a" * 300_000, "b" * 300_000}
    write_text_atomically(path, min(texts))
    code = """
        import itertools, pathlib, sys
        from posttrain.runs import write_text_atomically
        for letter in itertools.cycle("ab"):
            write_text_atomically(pathlib.Path(sys.argv[1]), letter * 300_000)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(path)]) as writer:
        seen: set[str] = set()
        end = time.monotonic() + 30
        for _ in range(300):
            seen.add(path.read_text())
        while len(seen) < 2 and time.monotonic() < end:
            seen.add(path.read_text())
        writer.kill()
    assert seen == texts
    assert path.read_text() in texts


def test_writer_that_fails_mid_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    write_text_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(path, "x" * 100_000 + "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_lines_written_aside_do_not_follow_what_a_killed_process_of_the_same_number_left(tmp_path: Path) -> None:
    (tmp_path / f".rows.jsonl.{platform.node()}.{os.getpid()}.aside").write_text('{"half": ')
    with written_aside(tmp_path / "rows.jsonl") as aside:
        append_json_lines(aside, [{"a": 1}])
        assert not (tmp_path / "rows.jsonl").exists()
    assert (tmp_path / "rows.jsonl").read_text() == '{"a": 1}\n'
    assert list(tmp_path.iterdir()) == [tmp_path / "rows.jsonl"]


def test_writer_leaves_new_text_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json_atomically(path, {"값": float("inf"), "b": 1})
    assert json.loads(path.read_text()) == {"값": None, "b": 1}
    assert list(tmp_path.iterdir()) == [path]
