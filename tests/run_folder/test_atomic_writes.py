"""Files are old or new, whatever happens to their writer."""

import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from posttrain.runs import (
    append_json_lines,
    write_json_atomically,
    write_text_atomically,
    written_aside,
)
from tests.run_folder.conftest import python


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
