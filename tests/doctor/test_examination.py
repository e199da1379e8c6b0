"""What a person sees, and the exit code; one real look at this machine in a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posttrain import cli
from posttrain.doctor import examination
from posttrain.doctor.examination import WIDTH, examine, findings
from posttrain.doctor.finding import Finding, fix, ok, warning
from posttrain.recipe import load_recipe

LINE = re.compile(r"(ok|warning|fix) +[a-z]|  +[^ ]")
URL = "http://127.0.0.1:9/v1"  # a port where nobody may listen


def test_a_look_at_this_machine_is_readable_in_80_columns_and_imports_no_trainer() -> None:
    code = (
        "import sys; from posttrain.cli import main; status = main(['doctor']); "
        'sys.exit(f\'{status} {[name for name in ("trl", "vllm", "transformers") if name in sys.modules]}\')'
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    *lines, empty, summary = done.stdout.splitlines()
    assert all(LINE.match(line) for line in lines)
    assert empty == ""
    num_fixes = sum(line.startswith("fix ") for line in lines)
    num_warnings = sum(line.startswith("warning ") for line in lines)
    assert summary.endswith(f": {num_fixes} to fix, {num_warnings} warnings")
    assert done.stderr == f"{int(num_fixes > 0)} []\n"
    assert max(map(len, lines)) <= WIDTH
    for what in (
        "python",
        "torch",
        "cores",
        "memory",
        "attention",
        "vllm",
        "sandbox",
        "disk: runs",
        "open files",
        "hub",
    ):
        assert any(f" {what} " in line for line in lines), what


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([ok("trl", "1.16.0")], 0),
        ([ok("trl", "1.16.0"), warning("devices", "CPU only", "get a GPU")], 0),
        ([fix("trl", "0.1", "pip install trl"), warning("devices", "CPU only", "get a GPU")], 1),
    ],
)
def test_exit_code_is_1_when_something_has_to_be_fixed(
    found: list[Finding], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examination, "_checks", lambda recipe: {"all": lambda: iter(found)})
    assert examine() == status
    said = capsys.readouterr().out
    for finding in found:
        assert re.search(f"^{finding.state} +{finding.what} +{finding.found}$", said, re.MULTILINE)
        assert f"-> {finding.advice}\n" in said or not finding.advice


def test_a_check_that_breaks_is_a_line_and_the_others_go_on() -> None:
    def breaks() -> Iterator[Finding]:
        yield ok("first", "was seen")
        raise RuntimeError("no such thing")

    first, broken = findings("second", breaks)
    assert first.found == "was seen"
    assert (broken.state, broken.what) == ("warning", "second")
    assert "RuntimeError: no such thing" in broken.found


def test_a_command_to_copy_is_never_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/" + "long-folder/" * 9
    monkeypatch.setattr(
        examination, "_checks", lambda recipe: {"all": lambda: iter([fix("disk", "full", f"rm {path}")])}
    )
    examine()
    assert f" {path}\n" in capsys.readouterr().out


def test_with_a_recipe_it_looks_at_its_judge_and_its_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe = tmp_path / "eval.yaml"
    judge = f"{{url: '{URL}', model: m, folder: {tmp_path}}}"
    recipe.write_text(
        f"stage: eval\nrun: {tmp_path / 'run'}\nlabel: x\nmodel: {{path: base}}\ndata: {{sources: [{{path: a}}]}}\n"
        "decodings: [{name: x, mode: reasoning, temperature: 0.0, max_new_tokens: 8}]\n"
        f"rewards:\n  - {{use: 'rewards.science_answer:ScienceAnswer', args: {{judge: {judge}}}}}\n"
    )
    assert examine(load_recipe(recipe)) == 1
    said = capsys.readouterr().out
    assert re.search(rf"^fix +judge +m at {URL}:", said, re.MULTILINE)
    assert f"{tmp_path / 'run'}:" in said


def test_a_wrong_recipe_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", str(tmp_path / "no.yaml")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
