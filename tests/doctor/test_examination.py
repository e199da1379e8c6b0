"""What a person sees, and the exit code; one real look at this machine in a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from posttrain import cli
from posttrain.doctor import examination
from posttrain.doctor.examination import WIDTH, examine, findings
from posttrain.doctor.finding import Finding, fix, ok, warning
from posttrain.recipe import load_recipe

PROJECT = Path(__file__).parents[2]
MAIN = "from posttrain.cli import main; sys.exit(main(['doctor']))"
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


def only(check: Callable[[], Iterator[Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be one check."""
    monkeypatch.setattr(examination, "_checks", lambda recipe: {"made_up": ()})
    monkeypatch.setitem(sys.modules, "posttrain.doctor.made_up", SimpleNamespace(check_made_up=check))


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
    only(lambda: iter(found), monkeypatch)
    assert examine() == status
    said = capsys.readouterr().out
    for finding in found:
        assert re.search(f"^{finding.state} +{finding.what} +{finding.found}$", said, re.MULTILINE)
        assert f"-> {finding.advice}\n" in said or not finding.advice


@pytest.mark.parametrize(
    ("error", "state"), [(RuntimeError("no such thing"), "warning"), (ImportError("no such thing"), "fix")]
)
def test_a_check_that_breaks_is_a_line_and_what_it_found_before_stays(
    error: Exception, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> Iterator[Finding]:
        yield ok("first", "was seen")
        raise error

    only(breaks, monkeypatch)
    first, broken = findings("made_up")
    assert first.found == "was seen"
    assert (broken.state, broken.what) == (state, "made_up")
    assert "no such thing" in broken.found


def test_without_any_package_it_says_what_is_missing() -> None:
    """An interpreter that sees this source and no installed package; imports of the first check are enough for it."""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(PROJECT)!r}); {MAIN}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.returncode == 1
    assert re.search("^fix +versions +could not be looked at: No module named 'packaging'", done.stdout, re.MULTILINE)
    assert re.search("^fix +devices +torch cannot be imported", done.stdout, re.MULTILINE)


def test_a_command_to_copy_is_never_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/" + "long-folder/" * 9
    only(lambda: iter([fix("disk", "full", f"rm {path}")]), monkeypatch)
    examine()
    assert f" {path}\n" in capsys.readouterr().out


def test_with_a_recipe_it_looks_at_its_engine_disk_judge_and_trackers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "eval.yaml"
    judge = f"{{url: '{URL}', model: m, folder: {tmp_path}}}"
    path.write_text(
        f"stage: eval\nrun: {tmp_path / 'run'}\nlabel: x\nmodel: {{path: base}}\ndata: {{sources: [{{path: a}}]}}\n"
        "decodings: [{name: x, mode: reasoning, temperature: 0.0, max_new_tokens: 8}]\n"
        f"rewards:\n  - {{use: 'rewards.science_answer:ScienceAnswer', args: {{judge: {judge}}}}}\n"
    )
    recipe, sampling = load_recipe(path), load_recipe(path, ["engine.name=transformers"])
    checks = examination._checks(recipe)
    assert checks.keys() - examination._checks(None).keys() == {"endpoints", "trackers"}
    assert checks["kernels"] == (True,)
    assert examination._checks(sampling)["kernels"] == (False,)
    assert checks["sandbox"] == (False,)
    code = load_recipe(path, ["rewards=[{use: rewards.code_tests:CodeTests}]"])
    benchmark = load_recipe(path, ["benchmarks=[{use: human_eval}]"])
    assert examination._checks(code)["sandbox"] == examination._checks(benchmark)["sandbox"] == (True,)

    monkeypatch.setattr(examination, "_checks", lambda _: {name: checks[name] for name in ("disk", "endpoints")})
    assert examine(recipe) == 1
    said = capsys.readouterr().out
    assert re.search(rf"^fix +judge +m at {URL}:", said, re.MULTILINE)
    assert f"{tmp_path / 'run'}:" in said


def test_a_wrong_recipe_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", str(tmp_path / "no.yaml")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
