"""The command line: parse the recipe first, import the heavy stage after, turn a user's mistake into one line.

Recipes are imported by the functions that read one: `--help` would wait twice as long for OmegaConf as for all else.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from posttrain import __version__
from posttrain.environment import leave_process_group, prepare_environment
from posttrain.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, UserError
from posttrain.plan.options import add_options as add_plan_options
from posttrain.plan.options import options_of
from posttrain.simulation.command import add_simulate
from posttrain.stacks import register_stacks
from posttrain.talk.options import add_chat, add_generate, add_serve

# Command: (what runs it, what it does). Named, not imported: `import trl` costs seconds.
STAGES = {
    "context": ("posttrain.context.stage:run_stage", "grow a model's context in stages, each with a needle gate"),
    "sft": ("posttrain.sft.stage:run_stage", "fine-tune on both modes together"),
    "filter": ("posttrain.filter.stage:run_stage", "keep the prompts that a model does not always answer right"),
    "rl": ("posttrain.rl.stage:run_stage", "AGAPO reinforcement learning"),
    "pairs": ("posttrain.preference.pairs_stage:run_stage", "sample from a model and build preference pairs"),
    "pref": ("posttrain.preference.stage:run_stage", "SimPER preference learning from pairs"),
    "eval": ("posttrain.evals.stage:run_stage", "grade a model's answers in both modes"),
    "report": ("posttrain.report.stage:run_stage", "write one page about the runs of several stages"),
}
TALK = {
    "generate": ("posttrain.talk.generate:run_generate", "let a model answer one prompt", add_generate),
    "chat": ("posttrain.talk.chat:run_chat", "talk to a model in the terminal, in either mode", add_chat),
    "serve": ("posttrain.talk.serve:run_serve", "serve a model with vLLM behind an OpenAI-compatible API", add_serve),
}
# Under a launcher the first process does these alone: there is nothing to share out, and the others return at once.
SINGLE_PROCESS = ("filter", "pairs", "eval", "report", "check", "plan", "demo", "doctor", "recipes", "model", "simulate")
SUPERVISED = ("sft", "filter", "rl", "pairs", "pref", "eval", "context")
REPORT_FOLDERS = "posttrain.report.stage:report_folders"
COMPARE = "posttrain.evals.compare:compare_runs"
CHECK = "posttrain.check:check_recipe"
CHECK_CONFIG = "posttrain.check_config:check_config"
PLAN = "posttrain.plan.command:plan_recipe"
DEMO = "posttrain.demo.conductor:run_demo"
DOCTOR = "posttrain.doctor:examine"
RECIPES = "posttrain.authoring.recipes:copy_recipes"
SIMULATE = "posttrain.simulation.command:run_simulate"
REWARDS = {
    "list": ("posttrain.authoring.listing:list_rewards", "the rewards that are there"),
    "new": ("posttrain.authoring.scaffold:new_reward", "write a reward and its test, to be changed into yours"),
    "check": ("posttrain.authoring.check:check_reward", "ask a reward about the gold, empty and hostile answers"),
}
MODEL = {
    "new": "build an untrained model of any shape, or count what it would cost",
    "probe": "change single tokens and see which layers notice: windows, causality, RoPE, packing",
    "convert": "turn a full-attention checkpoint into a sliding/full hybrid with the same weights",
    "export": "turn a training checkpoint of any stage and sharding into a model folder",
}

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    0: done. 1: a check failed. 2: a mistake in the input. 75: stopped by SIGTERM, 130: by ^C; both can be resumed.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    signal.signal(signal.SIGTERM, _preempt)
    register_stacks()
    args = _parse(argv)
    if args.command in SINGLE_PROCESS and os.environ.get("RANK", "0") != "0":
        return 0
    try:
        if args.command == "run":
            return _supervise(args)
        if args.command == "doctor":
            return _examine(args)
        if args.command == "rewards":
            return int(_load(REWARDS[args.what][0])(*args.words))
        _run(args)
        leave_process_group()
    except UserError as error:
        lines = [f"error: {' '.join(str(error).split())}", *error.details]
        sys.stderr.write("\n  ".join(lines) + "\n")
        return EXIT_USER_ERROR
    except OSError as error:
        if error.errno not in DISK_IS_FULL:
            raise
        sys.stderr.write(f"error: {error}; make room, and the same command with --resume goes on where it can\n")
        return EXIT_USER_ERROR
    except KeyboardInterrupt as stop:
        again = "the same command with --resume goes on from the last checkpoint"
        sys.stderr.write(f"interrupted: {again if args.command in STAGES else 'give the same command again'}\n")
        return EXIT_PREEMPTED if isinstance(stop, Preempted) else EXIT_INTERRUPTED
    return 0


def _preempt(*_: object) -> None:
    raise Preempted


def _run(args: argparse.Namespace) -> None:
    from posttrain.recipe import load_recipe, resolved_yaml
    from posttrain.runs import is_finished, require_writable

    if args.command == "demo":
        prepare_environment()
        _load(DEMO)(args.root, args.seed)
    elif args.command == "report" and args.recipe.is_dir():
        prepare_environment()
        _load(REPORT_FOLDERS)([args.recipe, *map(Path, args.overrides)], args.out)
    elif args.command == "report" and args.out is not None:
        raise UserError("--out is for run folders; a recipe says where its report goes, or run=FOLDER does")
    elif args.command == "compare":
        prepare_environment()
        _load(COMPARE)(args.first, args.second, args.decodings and tuple(args.decodings))
    elif args.command == "recipes":
        _load(RECIPES)(args.folder)
    elif args.command == "simulate":
        _load(SIMULATE)(args)
    elif args.command == "model":
        _model(args)
    elif args.command in TALK:
        _load(TALK[args.command][0])(args)
    elif args.command == "check":
        recipe = load_recipe(args.recipe, args.overrides)
        if args.config_only and args.show:
            raise UserError("got --config-only and --show, which shows rows; give one of them")
        prepare_environment()
        if args.config_only:
            _load(CHECK_CONFIG)(recipe)
        else:
            _load(CHECK)(recipe, show=args.show)
    elif args.command == "plan":
        recipe = load_recipe(args.recipe, args.overrides)
        options = options_of(args)
        prepare_environment()
        _load(PLAN)(recipe, args.recipe, options, as_json=args.json)
    else:
        recipe = load_recipe(args.recipe, args.overrides, stage=args.command)
        if args.skip_finished and is_finished(recipe.run, resolved_yaml(recipe)):
            sys.stdout.write(f"{recipe.run} is finished: skipped\n")
            return
        if os.environ.get("RANK", "0") == "0":
            require_writable(Path(recipe.run))
        prepare_environment()
        _load(STAGES[args.command][0])(recipe, resume="anyway" if args.resume_anyway else args.resume)


def _examine(args: argparse.Namespace) -> int:
    recipe = None
    if args.recipe is not None:
        from posttrain.recipe import load_recipe

        recipe = load_recipe(args.recipe, args.overrides)
    prepare_environment()
    return int(_load(DOCTOR)(recipe))


def _supervise(args: argparse.Namespace) -> int:
    from posttrain.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.overrides)
    if recipe.stage not in SUPERVISED:
        raise UserError(f"{args.recipe} is for stage {recipe.stage}; need one of {', '.join(SUPERVISED)}")
    launcher = args.launcher or [sys.executable]
    stage = ["-m", "posttrain", recipe.stage, str(args.recipe), *args.overrides, "--resume"]
    run = _load("posttrain.supervisor.supervise:supervise")
    return int(run([*launcher, *stage], Path(recipe.run), restarts=args.restarts, hang_after_s=args.hang_after))


def _model(args: argparse.Namespace) -> None:
    from posttrain.recipe import load_recipe

    if args.what == "new":
        recipe = load_recipe(args.recipe, args.overrides, stage="model")
        prepare_environment()
        _load("posttrain.modelling.new:new_model")(recipe, dry_run=args.dry_run)
        return
    prepare_environment()
    if args.what == "probe":
        _load("posttrain.modelling.probe:probe")(args.folder, engine=args.engine, attention=args.attention)
    elif args.what == "export":
        _load("posttrain.modelling.export:export_checkpoint")(args.checkpoint, out=args.out)
    else:
        convert = _load("posttrain.modelling.convert:convert_model")
        convert(args.folder, ratio=args.ratio, window=args.window, out=args.out)


def _load(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    words, behind = _before_and_after("--", sys.argv[1:] if argv is None else argv)
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
        args.overrides += rest
    return args


def _before_and_after(mark: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    where = list(words).index(mark) if mark in words else len(words)
    return list(words[:where]), list(words[where + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="posttrain",
        description="The EXAONE 4.0 post-training recipe, stage by stage.",
        epilog="example: posttrain sft recipes/demo/sft.yaml seed=1 trainer.learning_rate=1e-4",
    )
    parser.add_argument("--version", action="version", version=f"posttrain {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, help_text) in STAGES.items():
        command = commands.add_parser(name, help=help_text, description=help_text)
        _add_recipe(command)
        command.add_argument("--resume", action="store_true", help="go on with an unfinished run of this recipe")
        anyway = "the same although recipe, data, template or number of processes changed, or no checkpoint is whole"
        command.add_argument("--resume-anyway", action="store_true", help=anyway)
        command.add_argument("--skip-finished", action="store_true", help="do nothing if this recipe's run is finished")
        if name == "report":
            _add_folders(command)
    _add_run(commands.add_parser("run", help="run a recipe's stage, watch it, and start it again after a crash"))
    _add_compare(commands.add_parser("compare", help="tell two evaluations apart, question by question"))
    check = commands.add_parser("check", help="check a recipe, its data and its plugins without training")
    _add_recipe(check)
    shown = "print N rows or prompts as the model will see them, with what is trained marked"
    check.add_argument("--show", type=_count, default=0, metavar="N", help=shown)
    alone = "check the recipe alone: no data, no model, no network; says what was not looked at"
    check.add_argument("--config-only", action="store_true", help=alone)
    plan = commands.add_parser("plan", help="say what a recipe will take of memory, time and money, without running it")
    _add_recipe(plan)
    add_plan_options(plan)
    _add_rewards(commands.add_parser("rewards", help="list rewards, begin one, or check one against your rows"))
    _add_model(commands.add_parser("model", help="build, probe or convert a model, or export a checkpoint"))
    for name, (_, help_text, add_options) in TALK.items():
        add_options(commands.add_parser(name, help=help_text, description=help_text))
    demo = commands.add_parser("demo", help="run every stage on a tiny model and task that need nothing else")
    demo.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    demo.add_argument("--root", type=Path, default=Path("runs/demo"), metavar="DIR", help="(default: runs/demo)")
    recipes = commands.add_parser("recipes", help="copy the recipes that come with the package, to be changed")
    recipes.add_argument(
        "folder", type=Path, nargs="?", default=Path("recipes"), metavar="DIR", help="(default: recipes)"
    )
    doctor = commands.add_parser("doctor", help="what this machine has and lacks for a run, line by line")
    _add_recipe(doctor, nargs="?")
    what = "what an RL run would gain by more servers and by staleness, in simulated time"
    add_simulate(commands.add_parser("simulate", help=what, description=what))
    return parser


def _count(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"got {word!r}; need a whole number, as 3")
    return int(word)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.usage = "posttrain run RECIPE [--restarts N] [--hang-after S] [key=value ...] [-- LAUNCHER ...]"
    command.epilog = (
        "LAUNCHER: what starts `-m posttrain STAGE RECIPE` instead of python, as torchrun --nproc_per_node 8"
    )
    _add_recipe(command)
    often = "start it again at most so often, and only while it gets further than before (default: 3)"
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
    command.add_argument("overrides", metavar="key=value", nargs="*", help="change one value: section.key=value")
