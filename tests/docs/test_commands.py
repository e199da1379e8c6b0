"""Every command in the Markdown: run here, or parsed and its recipe checked, with the reason why it is not run."""

import io
import re
from pathlib import Path

import pytest

from posttrain import cli, command_line
from posttrain.recipe import load_recipe
from tests.docs.markdown import PAGES, PROJECT, commands, words

FOLLOWED = PROJECT / "docs" / "quickstart.md"  # to the letter, in test_quickstart.py
COMMANDS = sorted({command for page in PAGES if page != FOLLOWED for command in commands(page)})
RUN = ("posttrain check", "posttrain rewards", "posttrain doctor", "posttrain generate")
NOT_RUN = {
    "posttrain sft": "minutes; tests/end_to_end runs it with fewer steps",
    "posttrain filter": "minutes; tests/filter",
    "posttrain rl": "minutes; tests/end_to_end runs it with fewer steps",
    "posttrain pairs": "minutes; tests/end_to_end runs it with fewer rows",
    "posttrain pref": "minutes; tests/end_to_end runs it with fewer steps",
    "posttrain context": "minutes; tests/context",
    "posttrain eval": "minutes; tests/end_to_end runs it with fewer questions",
    "posttrain plan": "tests/plan runs every one of a page",
    "posttrain simulate": "needs a finished run; tests/simulation",
    "posttrain model export": "needs a checkpoint; tests/distributed",
    "posttrain report": "needs finished runs; tests/end_to_end and tests/report",
    "posttrain compare": "needs finished evaluations; tests/evals",
    "posttrain run": "starts a stage; tests/supervisor",
    "posttrain chat": "waits for a person; tests/talk",
    "posttrain serve": "serves until it is stopped; tests/talk",
    "make": "sets up, trains or measures for minutes and more; its target is looked up",
    "accelerate launch": "several processes, or GPUs; tests/distributed",
    "sbatch": "a cluster; tests/distributed plays Slurm's part",
    "trl vllm-serve": "GPUs",
    "python tests/benchmarks": "measures for minutes; the file is looked up",
    "python -m": "a module with tests of its own; it is looked up",
    "pip install": "a network",
    "echo": "what is piped into the next command",
    "grep": "reads the samples of a run",
}


def starts(command: str, prefix: str) -> bool:
    return words(command)[: len(prefix.split())] == prefix.split() or " ".join(words(command)).startswith(f"{prefix}/")


def of_posttrain(command: str) -> list[str] | None:
    """The arguments of `posttrain`, also behind a launcher or a batch script."""
    split = words(command)
    if split[0] == "sbatch":
        return split[next(index for index, word in enumerate(split) if word.endswith(".sbatch")) + 1 :]
    return split[split.index("posttrain") + 1 :] if "posttrain" in split else None


def recipe_of(arguments: list[str]) -> tuple[Path, list[str]] | None:
    """The recipe that a command names and its overrides; None where it names none, or a placeholder."""
    if arguments[0].endswith(".yaml"):
        arguments = ["rl", *arguments]  # rl.sbatch
    parsed = command_line.parse(arguments)
    recipe = getattr(parsed, "recipe", None)
    return (PROJECT / recipe, parsed.overrides) if recipe is not None and recipe.suffix == ".yaml" else None


def test_every_command_is_run_or_has_a_reason() -> None:
    assert len(COMMANDS) > 50
    assert [each for each in COMMANDS if sum(starts(each, prefix) for prefix in (*RUN, *NOT_RUN)) != 1] == []


def test_every_reason_is_needed() -> None:
    assert [prefix for prefix in (*RUN, *NOT_RUN) if not any(starts(each, prefix) for each in COMMANDS)] == []
    tests = re.findall(r"tests/\w+", " ".join(NOT_RUN.values()))
    assert [folder for folder in tests if not any((PROJECT / folder).glob("test_*.py"))] == []


@pytest.mark.parametrize("command", [each for each in COMMANDS if of_posttrain(each) is not None])
def test_command_line_parses_and_its_recipe_loads_with_the_overrides(command: str) -> None:
    arguments = of_posttrain(command)
    assert arguments
    named = recipe_of(arguments)
    if named is not None:
        load_recipe(*named)


def test_what_else_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z][\w -]*):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    targets = {target for line in targets for target in line.split()}
    for command in COMMANDS:
        program, *rest = words(command)
        files = [word for word in rest if word.startswith(("recipes/", "tests/"))]
        if program == "make":
            assert {word for word in rest if "=" not in word} <= targets, command
        elif program == "python":
            files += [f"{rest[1].replace('.', '/')}.py"] if rest[0] == "-m" and rest[1] != "pytest" else []
        assert all((PROJECT / file).exists() for file in files), command


def test_commands_inside_of_sentences_exist() -> None:
    targets = (PROJECT / "Makefile").read_text()
    [known] = [action.choices for action in command_line.make_parser()._actions if action.dest == "command"]
    assert known
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"`make ([a-z][a-z-]*)", text):
            assert re.search(rf"^(.* )?{target}( .*)?:", targets, flags=re.MULTILINE), f"{page}: make {target}"
        assert set(re.findall(r"`posttrain ([a-z]+)", text)) <= set(known), page


# --- slow: with the libraries of the stages ---


@pytest.mark.slow
def test_recipes_of_commands_that_are_not_run_pass_the_check_of_their_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from posttrain.check_config import check_config

    not_run = [each for each in COMMANDS if not any(starts(each, prefix) for prefix in RUN)]
    recipes = {
        (str(named[0]), *named[1])
        for each in not_run
        if (arguments := of_posttrain(each)) and (named := recipe_of(arguments)) is not None
    }
    assert len(recipes) > 10
    for path, *overrides in sorted(recipes):
        check_config(load_recipe(path, overrides))
        assert "not checked" in capsys.readouterr().out


@pytest.mark.slow
def test_cheap_commands_run_in_a_small_workplace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model_folder: Path,
    demo_files: dict[str, Path],
) -> None:
    """In the order of the pages, which is that of their readers; as if the demo had just run."""
    demo = tmp_path / "runs" / "demo"
    demo.mkdir(parents=True)
    (demo / "data").symlink_to(demo_files["rl"].parent)
    for name in ("base", "sft/model", "rl/model", "pref-stage2/model"):
        (demo / name).parent.mkdir(exist_ok=True)
        (demo / name).symlink_to(model_folder)
    (tmp_path / "recipes").symlink_to(PROJECT / "recipes")
    (tmp_path / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "3*4?"}], "answer": "12"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO("17 * 23?"))  # what a pipe brings
    in_order = dict.fromkeys(command for page in PAGES if page != FOLLOWED for command in commands(page))
    done = [command for command in in_order if any(starts(command, prefix) for prefix in RUN)]
    assert len(done) > 5
    for command in done:
        assert cli.main(words(command)[1:]) == 0, command
