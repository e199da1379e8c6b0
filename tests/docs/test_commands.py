"""What can be said of every command in the Markdown without running it: its words, its recipe, the files it names."""

import re
from pathlib import Path

import pytest

from posttrain import command_line
from posttrain.recipe import load_recipe
from tests.docs.commands import COMMANDS, NOT_RUN, is_run, starts
from tests.docs.markdown import PAGES, PROJECT, words


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


def test_most_commands_of_posttrain_are_run_and_the_reasons_why_others_are_not_are_needed() -> None:
    assert len(COMMANDS) > 50
    ours = [command for command in COMMANDS if words(command)[0] == "posttrain"]
    assert len([command for command in ours if not is_run(command)]) < len(ours) / 8
    for prefix, reason in NOT_RUN.items():
        assert any(starts(command, prefix) for command in COMMANDS), prefix
        assert all(any((PROJECT / folder).glob("test_*.py")) for folder in re.findall(r"tests/\w+", reason)), prefix


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


@pytest.mark.slow
def test_recipes_of_commands_that_are_not_run_pass_the_check_of_their_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from posttrain.check_config import check_config

    recipes = {
        (str(named[0]), *named[1])
        for each in COMMANDS
        if not is_run(each) and (arguments := of_posttrain(each)) and (named := recipe_of(arguments)) is not None
    }
    assert recipes
    for path, *overrides in sorted(recipes):
        check_config(load_recipe(path, overrides))
        assert "not checked" in capsys.readouterr().out
