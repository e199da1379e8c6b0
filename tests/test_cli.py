import os
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from posttrain import __version__, cli, commands
from posttrain.environment import DEFAULTS, prepare_environment
from posttrain.recipe import STAGES, load_recipe, resolved_yaml
from posttrain.runs import Run

RECIPE = """\
stage: pref
run: {run}
model: {{path: base}}
pairs: [pairs.parquet]
trainer: {{learning_rate: 1e-6}}
"""
CHECK = "posttrain.check:check_recipe"
DEMO = "posttrain.demo.conductor:run_demo"
Call = tuple[str, tuple[Any, ...], dict[str, Any]]
HEAVY = ("torch", "transformers", "trl", "datasets", "vllm", "numpy", "accelerate", "peft")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "pref.yaml"
    path.write_text(RECIPE.format(run=tmp_path / "run"))
    return path


def posttrain(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "posttrain", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_names_every_command() -> None:
    done = posttrain("--help")
    assert done.returncode == 0
    for command in [*STAGES, *commands.TALK, "run", "check", "demo", "doctor", "recipes"]:
        assert f"\n    {command} " in done.stdout
    assert set(commands.COMMANDS) == {*cli.RUNS, *commands.STAGES, *commands.TALK}


def test_version_is_the_packages() -> None:
    assert posttrain("--version").stdout == f"posttrain {__version__}\n"


@pytest.mark.parametrize(("words", "light"), [(["--help"], True), (["sft", "{recipe}"], False)])
def test_help_imports_no_recipes_and_recipe_errors_nothing_heavy(recipe: Path, words: list[str], light: bool) -> None:
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from posttrain.cli import main; main()"
    command = [sys.executable, "-c", code, *(word.format(recipe=recipe) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "posttrain.cli" in loaded
    assert not loaded & set(HEAVY)
    assert light == (not loaded & {"omegaconf", "posttrain.recipe"})


def test_help_takes_less_than_300_ms_and_recipe_errors_less_than_800(recipe: Path) -> None:
    """Of a processor: a busy machine takes longer by the clock; trl alone takes several seconds."""
    for limit_s, words in [(0.3, ["--help"]), (0.8, ["sft", recipe]), (0.8, ["pref", recipe, "sed=3"])]:
        assert min(cpu_seconds(*words) for _ in range(3)) < limit_s


def cpu_seconds(*words: object) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    posttrain(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["pref", "{recipe}", "sed=3"], ["override 'sed=3'", "did you mean 'seed'?"]),
        (["pref", "{recipe}", "seed"], ["override 'seed'", "section.key=value"]),
        (["pref", "{recipe}", "--resume", "model.pth=x"], ["'model.pth'", "did you mean 'model.path'?"]),
        (["pref", "{recipe}", "seed=x"], ["seed: got 'x'", "a whole number"]),
        (["pref", "{recipe}", "path=x"], ["unknown key 'path'", "did you mean 'model.path'?"]),
        (["pref", "{recipe}", "learning_rate=1"], ["unknown key 'learning_rate'", "write 'trainer.learning_rate'"]),
        (["report", "no-such-run"], ["no-such-run: no such folder; give run folders"]),
        (["pref", "{recipe}x"], ["{recipe}x: no such recipe file", "did you mean 'pref.yaml'?"]),
        (["sft", "{recipe}"], ["is for stage pref, the command is sft", "posttrain pref {recipe}"]),
        (["check", "{recipe}", "pairs=[]"], ["pairs: got nothing", "at least one pairs.parquet"]),
        (["pref", "{recipe}", "root=a\nb", "run=${{x}}"], ["run: Interpolation key 'x' not found"]),
    ],
)
def test_users_mistake_is_one_line_and_exit_code_2(recipe: Path, words: list[str], parts: list[str]) -> None:
    done = posttrain(*(word.format(recipe=recipe) for word in words))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part.format(recipe=recipe) in done.stderr


def test_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("stage: sft\nmodel: {path: x\nrun: y\n")
    done = posttrain("sft", path)
    assert done.returncode == 2
    assert f"{path}, line 3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "COMMAND"),
        (["train", "x.yaml"], "no command 'train'; `posttrain --help` lists the commands"),
        (["stf", "x.yaml"], "no command 'stf', did you mean 'sft'?"),
        (["pref"], "the following arguments are required: RECIPE\n"),
        (["pref", "x.yaml", "--resme-now"], "--resme-now"),
        (["demo", "x.yaml"], "x.yaml"),
        (["check", "x.yaml", "--show", "-1"], "--show: got '-1'; need a whole number"),
        (["demo", "--seed", "one"], "--seed"),
    ],
)
def test_wrong_command_line_shows_usage_and_exits_2(words: list[str], part: str) -> None:
    done = posttrain(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert part in done.stderr


def test_finished_run_is_skipped_in_one_line_before_anything_heavy(recipe: Path, tmp_path: Path) -> None:
    with Run.start(tmp_path / "run", "pref", resolved_yaml(load_recipe(recipe)), 0, [], None, False, is_main=True):
        pass
    done = posttrain("pref", recipe, "--skip-finished")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'run'} is finished: skipped\n"
    changed = posttrain("pref", recipe, "--skip-finished", "seed=1")
    assert changed.returncode == 2
    assert "seed was 0 and is now 1" in changed.stderr


def test_used_folder_is_refused_before_anything_heavy(recipe: Path, tmp_path: Path) -> None:
    with Run.start(tmp_path / "run", "pref", resolved_yaml(load_recipe(recipe)), 0, [], None, False, is_main=True):
        pass
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from posttrain.cli import main; main()"
    command = [sys.executable, "-c", code, "pref", str(recipe)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "run is already finished; choose another run=<folder>" in done.stderr
    assert not set(done.stdout.split()) & set(HEAVY)


# The stages belong to other parts of the house; a tiny module in a stage's place shows what the dispatch hands over.


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of our variables is set, and none that is set in the test stays."""
    for key in DEFAULTS:
        monkeypatch.setenv(key, "so that undoing restores the state before")
        monkeypatch.delenv(key)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, bare_environment: None) -> list[Call]:
    seen: list[Call] = []
    for target in [*(target for target, _ in commands.STAGES.values()), CHECK, DEMO]:
        name, _, function = target.partition(":")
        module = ModuleType(name)

        def record(*args: Any, _target: str = target, **kwargs: Any) -> None:
            assert all(os.environ[key] for key in DEFAULTS)
            seen.append((_target, args, kwargs))

        setattr(module, function, record)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    return seen


def test_stage_gets_its_recipe_with_overrides_on_both_sides_of_an_option(recipe: Path, calls: list[Call]) -> None:
    assert cli.main(["pref", str(recipe), "seed=1", "--resume", "seed=2", "trainer.beta=-1"]) == 0
    [(target, (loaded,), keywords)] = calls
    assert target == "posttrain.preference.stage:run_stage"
    assert loaded == load_recipe(recipe, ["seed=2", "trainer.beta=-1"])
    assert keywords == {"resume": True}


def test_every_stage_has_its_own_target(tmp_path: Path) -> None:
    assert [*commands.STAGES, "model"] == list(STAGES)  # `posttrain model` has commands of its own
    assert len({target for target, _ in commands.STAGES.values()}) == len(commands.STAGES)


def test_check_takes_a_recipe_of_any_stage(recipe: Path, calls: list[Call]) -> None:
    assert cli.main(["check", str(recipe)]) == 0
    assert cli.main(["check", str(recipe), "--show", "3", "seed=1"]) == 0
    assert calls == [
        (CHECK, (load_recipe(recipe),), {"show": 0}),
        (CHECK, (load_recipe(recipe, ["seed=1"]),), {"show": 3}),
    ]


def test_demo_gets_its_folder_and_seed(calls: list[Call]) -> None:
    assert cli.main(["demo", "--seed", "2", "--root", "x/y"]) == 0
    assert cli.main(["demo"]) == 0
    assert [args for _, args, _ in calls] == [(Path("x/y"), 2), (Path("runs/demo"), 0)]


STAGE = """
import os, signal, sys, types
from posttrain import cli
from posttrain.recipe import resolved_yaml
from posttrain.runs import Run

def run_stage(recipe, *, resume):
    with Run.start(recipe.run, recipe.stage, resolved_yaml(recipe), recipe.seed, [], None, resume, is_main=True):
        {body}

module = types.ModuleType("posttrain.preference.stage")
module.run_stage = run_stage
sys.modules[module.__name__] = module
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("name", "exit_code"), [("SIGINT", 130), ("SIGTERM", 75)])
def test_signal_marks_the_run_interrupted_and_has_an_exit_code_of_its_own(
    recipe: Path, tmp_path: Path, name: str, exit_code: int
) -> None:
    code = STAGE.format(body=f"os.kill(os.getpid(), signal.{name})")
    done = subprocess.run(
        [sys.executable, "-c", code, "pref", str(recipe)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == exit_code
    assert done.stderr.startswith("interrupted: ")
    assert "--resume" in done.stderr
    assert done.stderr.count("\n") == 1
    assert '"status": "interrupted"' in (tmp_path / "run" / "manifest.json").read_text()


def test_run_starts_the_recipes_stage_to_be_resumed_by_the_launcher_that_is_named(recipe: Path) -> None:
    done = posttrain(
        "run", recipe, "seed=4", "--restarts", 0, "trainer.max_steps=3", "--", "echo", "--flag", "torchrun"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"--flag torchrun -m posttrain pref {recipe} seed=4 trainer.max_steps=3 --resume\n"


def test_run_returns_a_mistake_in_the_recipe_at_once_and_starts_nothing(recipe: Path) -> None:
    done = posttrain("run", recipe, "sed=4", "--", "echo", "started")
    assert (done.returncode, done.stdout) == (2, "")
    assert "sed" in done.stderr


def test_run_is_for_stages_that_can_be_resumed(tmp_path: Path) -> None:
    report = Path(__file__).parents[1] / "recipes" / "demo" / "report.yaml"
    done = posttrain("run", report, "--", "echo", "started")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is for stage report; need one of sft, filter, rl, pairs, pref, eval" in done.stderr


def test_a_launcher_is_for_run_alone(recipe: Path) -> None:
    done = posttrain("pref", recipe, "--", "torchrun")
    assert done.returncode == 2
    assert "unrecognized arguments: -- torchrun" in done.stderr


def test_bug_in_a_stage_flies_with_its_traceback_and_marks_the_run_failed(recipe: Path, tmp_path: Path) -> None:
    code = STAGE.format(body="raise RuntimeError('a bug')")
    done = subprocess.run(
        [sys.executable, "-c", code, "pref", str(recipe)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert '"status": "failed"' in (tmp_path / "run" / "manifest.json").read_text()


def test_environment_keeps_what_the_user_set(monkeypatch: pytest.MonkeyPatch, bare_environment: None) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    prepare_environment()
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


@pytest.mark.parametrize("command", commands.SINGLE_PROCESS)
def test_other_processes_of_a_launch_leave_the_work_to_the_first(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"demo": [], "doctor": [], "recipes": [], "model": ["probe", "no_such_folder"]}
    arguments = [command, *words.get(command, ["no_such_recipe.yaml"])]
    monkeypatch.setenv("RANK", "1")
    assert cli.main(arguments) == 0
    assert capsys.readouterr().err == ""
