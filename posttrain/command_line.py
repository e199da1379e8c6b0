"""The command line's words: every command with its options. Nothing here costs time to import."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from posttrain import __version__
from posttrain.commands import COMMANDS, MODEL, REWARDS, STAGES, TALK
from posttrain.errors import did_you_mean
from posttrain.plan.options import add_options as add_plan_options
from posttrain.simulation.command import add_simulate
from posttrain.talk.options import add_chat, add_generate, add_serve

EXAMPLES = """\
examples:
  posttrain demo
  posttrain check recipes/demo/sft.yaml --config-only
  posttrain sft recipes/demo/sft.yaml seed=1 trainer.learning_rate=1e-4
"""
TALK_OPTIONS = {"generate": add_generate, "chat": add_chat, "serve": add_serve}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The words of a command line, by default this process's; what is wrong with them ends the process with code 2."""
    parser = make_parser()
    words, behind = _before_and_after("--", sys.argv[1:] if argv is None else argv)
    _require_command(words[:1], parser)
    args, rest = parser.parse_known_args(words)
    if args.command == "run":
        args.launcher = behind
    elif args.command == "serve":
        args.vllm_args += behind
    elif behind:
        parser.error(f"unrecognized arguments: -- {' '.join(behind)}")
    # argparse stops collecting overrides at the first option: those behind it are here.
    options = [word for word in rest if word.startswith("-") or "overrides" not in args]
    if options:
        parser.error(f"unrecognized arguments: {' '.join(options)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def _require_command(first: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Name the nearest command where the first word is none; argparse would list them all."""
    for word in first:
        if not word.startswith("-") and word not in COMMANDS:
            near = did_you_mean(word, COMMANDS) or "; `posttrain --help` lists the commands"
            parser.error(f"no command {word!r}{near}")


def _before_and_after(mark: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    where = list(words).index(mark) if mark in words else len(words)
    return list(words[:where]), list(words[where + 1 :])


def make_parser() -> argparse.ArgumentParser:
    """All commands with their options, in the order of `COMMANDS`."""
    parser = argparse.ArgumentParser(
        prog="posttrain",
        description="The EXAONE 4.0 post-training recipe, stage by stage.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"posttrain {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands = {name: subparsers.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    for name in STAGES:
        _add_recipe(commands[name])
        _add_resume(commands[name])
    _add_folders(commands["report"])
    _add_run(commands["run"])
    _add_compare(commands["compare"])
    _add_check(commands["check"])
    _add_recipe(commands["plan"])
    add_plan_options(commands["plan"])
    _add_rewards(commands["rewards"])
    _add_model(commands["model"])
    for name in TALK:
        TALK_OPTIONS[name](commands[name])
    commands["demo"].add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    runs, copies = Path("runs/demo"), Path("recipes")
    commands["demo"].add_argument("--root", type=Path, default=runs, metavar="DIR", help=f"(default: {runs})")
    commands["recipes"].add_argument(
        "folder", type=Path, nargs="?", default=copies, metavar="DIR", help=f"(default: {copies})"
    )
    _add_recipe(commands["doctor"], nargs="?")
    add_simulate(commands["simulate"])
    return parser


def _count(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"got {word!r}; need a whole number, as 3")
    return int(word)


def _add_resume(command: argparse.ArgumentParser) -> None:
    command.add_argument("--resume", action="store_true", help="go on with an unfinished run of this recipe")
    anyway = "the same although recipe, data, template or number of processes changed, or no checkpoint is whole"
    command.add_argument("--resume-anyway", action="store_true", help=anyway)
    command.add_argument("--skip-finished", action="store_true", help="do nothing if this recipe's run is finished")


def _add_check(command: argparse.ArgumentParser) -> None:
    _add_recipe(command)
    shown = "print N rows or prompts as the model will see them, with what is trained marked"
    command.add_argument("--show", type=_count, default=0, metavar="N", help=shown)
    alone = "check the recipe alone: no data, no model, no network; says what was not looked at"
    command.add_argument("--config-only", action="store_true", help=alone)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.usage = "posttrain run RECIPE [--restarts N] [--hang-after S] [key=value ...] [-- LAUNCHER ...]"
    command.epilog = (
        "LAUNCHER: what starts `-m posttrain STAGE RECIPE` in place of python, such as torchrun --nproc_per_node 8"
    )
    _add_recipe(command)
    often = "restart it at most N times, and only while each start gets further than the last (default: 3)"
    command.add_argument("--restarts", type=_count, default=3, metavar="N", help=often)
    silence = "seconds without a step that count as a hang: more than the longest step, save or chunk (default: 1800)"
    command.add_argument("--hang-after", type=float, default=1800.0, metavar="S", help=silence)


def _add_compare(command: argparse.ArgumentParser) -> None:
    command.add_argument("first", metavar="RUN_A", type=Path, help="the run folder of an evaluation")
    command.add_argument("second", metavar="RUN_B", type=Path, help="another one, or the same for two decodings")
    command.add_argument(
        "--decodings", nargs=2, metavar=("A", "B"), help="one of each run (default: each with its namesake)"
    )


def _add_folders(command: argparse.ArgumentParser) -> None:
    command.usage = (
        "posttrain report RECIPE [key=value ...]\n       posttrain report RUN_DIR [RUN_DIR ...] [--out FILE]"
    )
    command.epilog = "RUN_DIR: a run folder, or one that has the runs of a pipeline below it; several are compared"
    where = "where the page about run folders goes (default: report.html, in the folder where there is one)"
    command.add_argument("--out", type=Path, metavar="FILE", help=where)


def _add_rewards(command: argparse.ArgumentParser) -> None:
    whats = command.add_subparsers(dest="what", required=True, metavar="WHAT")
    actions = {name: whats.add_parser(name, help=text, description=text) for name, (_, text) in REWARDS.items()}
    actions["list"].set_defaults(words=[])
    actions["new"].add_argument("words", metavar="NAME", nargs=1, help="of the module and the reward, as my_reward")
    actions["check"].add_argument("words", metavar="key=value", nargs="+", help="use, data, args.*, style, limit, ...")
    actions["check"].epilog = "example: posttrain rewards check use=rewards.math_answer:math_answer data=rows.jsonl"


def _add_model(command: argparse.ArgumentParser) -> None:
    whats = command.add_subparsers(dest="what", required=True, metavar="WHAT")
    actions = {name: whats.add_parser(name, help=text, description=text) for name, text in MODEL.items()}
    _add_recipe(actions["new"])
    actions["new"].add_argument("--dry-run", action="store_true", help="count the costs and build nothing")
    for name in ("probe", "convert"):
        actions[name].add_argument("folder", metavar="DIR", help="a model folder")
    engine = actions["probe"].add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    engine.help = "whose attention is probed (default: transformers)"
    actions["probe"].add_argument("--attention", metavar="NAME", help="of transformers (default: what training takes)")
    convert = actions["convert"]
    convert.add_argument("--ratio", required=True, metavar="N:1", help="sliding layers to full ones, such as 3:1")
    convert.add_argument("--window", required=True, type=int, metavar="N", help="tokens that a sliding layer sees")
    convert.add_argument("--out", required=True, type=Path, metavar="DIR", help="the hybrid's folder")
    export = actions["export"]
    export.add_argument("checkpoint", type=Path, metavar="CHECKPOINT_DIR", help="checkpoint-<step> of a run")
    export.add_argument("--out", required=True, type=Path, metavar="DIR", help="the model's folder")


def _add_recipe(command: argparse.ArgumentParser, *, nargs: str | None = None) -> None:
    command.add_argument("recipe", metavar="RECIPE", type=Path, nargs=nargs, help="a YAML file")
    # The default is given so that argparse does not call an absent override missing.
    change = "change one value: section.key=value"
    command.add_argument("overrides", metavar="key=value", nargs="*", default=[], help=change)
