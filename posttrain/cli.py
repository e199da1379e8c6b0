"""The command line: parse the recipe first, import the heavy stage after, turn a user's mistake into one line.

Recipes are imported by the functions that read one: `--help` would wait twice as long for OmegaConf as for all else.
"""

import errno
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from posttrain.command_line import parse
from posttrain.commands import REWARDS, SINGLE_PROCESS, STAGES, SUPERVISED, TALK
from posttrain.environment import leave_process_group, prepare_environment
from posttrain.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, UserError
from posttrain.stacks import register_stacks

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    0: done. 1: a check failed. 2: a mistake in the input. 75: stopped by SIGTERM, 130: by ^C; both can be resumed.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    signal.signal(signal.SIGTERM, _preempt)
    register_stacks()
    args = parse(argv)
    if args.command in SINGLE_PROCESS and os.environ.get("RANK", "0") != "0":
        return 0
    run = RUNS.get(args.command) or (_talk if args.command in TALK else _stage)
    try:
        code = run(args)
        leave_process_group()
        return code
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


def _preempt(*_: object) -> None:
    raise Preempted


def _stage(args: Namespace) -> int:
    if args.command == "report" and args.recipe.is_dir():
        return _report_folders(args)
    if args.command == "report" and not args.recipe.exists() and not args.recipe.suffix:
        raise UserError(f"{args.recipe}: no such folder; give run folders, or the YAML file of a report")
    if args.command == "report" and args.out is not None:
        raise UserError("--out is for run folders; a recipe says where its report goes, or run=FOLDER does")
    from posttrain.runs import find_unfinished, is_finished, require_writable

    recipe, as_yaml = _recipe(args, stage=args.command)
    if args.skip_finished and is_finished(recipe.run, as_yaml):
        sys.stdout.write(f"{recipe.run} is finished: skipped\n")
        return 0
    if os.environ.get("RANK", "0") == "0":
        require_writable(Path(recipe.run))
        if args.command != "report":  # a report is written anew
            find_unfinished(Path(recipe.run))  # refuses a used folder here, not after the data is read
    prepare_environment()
    _load(STAGES[args.command][0])(recipe, resume="anyway" if args.resume_anyway else args.resume)
    return 0


def _report_folders(args: Namespace) -> int:
    prepare_environment()
    _load("posttrain.report.stage:report_folders")([args.recipe, *map(Path, args.overrides)], args.out)
    return 0


def _supervise(args: Namespace) -> int:
    recipe, _ = _recipe(args)
    if recipe.stage not in SUPERVISED:
        raise UserError(f"{args.recipe} is for stage {recipe.stage}; need one of {', '.join(SUPERVISED)}")
    launcher = args.launcher or [sys.executable]
    stage = ["-m", "posttrain", recipe.stage, str(args.recipe), *args.overrides, "--resume"]
    run = _load("posttrain.supervisor.supervise:supervise")
    return int(run([*launcher, *stage], Path(recipe.run), restarts=args.restarts, hang_after_s=args.hang_after))


def _check(args: Namespace) -> int:
    recipe, _ = _recipe(args)
    if args.config_only and args.show:
        raise UserError("got --config-only and --show, which shows rows; give one of them")
    prepare_environment()
    if os.environ.get("RANK", "0") != "0":  # the trainer's arguments wait for all processes; the first one speaks
        import_module("posttrain.terminal").console.quiet = True
    if args.config_only:
        _load("posttrain.check_config:check_config")(recipe)
    else:
        _load("posttrain.check:check_recipe")(recipe, show=args.show)
    return 0


def _plan(args: Namespace) -> int:
    from posttrain.plan.options import options_of

    recipe, _ = _recipe(args)
    options = options_of(args)
    prepare_environment()
    _load("posttrain.plan.command:plan_recipe")(recipe, args.recipe, options, as_json=args.json)
    return 0


def _simulate(args: Namespace) -> int:
    _load("posttrain.simulation.command:run_simulate")(args)
    return 0


def _compare(args: Namespace) -> int:
    prepare_environment()
    compare = _load("posttrain.evals.compare:compare_runs")
    compare(args.first, args.second, args.decodings and tuple(args.decodings))
    return 0


def _demo(args: Namespace) -> int:
    prepare_environment()
    _load("posttrain.demo.conductor:run_demo")(args.root, args.seed)
    return 0


def _doctor(args: Namespace) -> int:
    recipe = None if args.recipe is None else _recipe(args)[0]
    prepare_environment()
    return int(_load("posttrain.doctor:examine")(recipe))


def _recipes(args: Namespace) -> int:
    _load("posttrain.authoring.recipes:copy_recipes")(args.folder)
    return 0


def _rewards(args: Namespace) -> int:
    return int(_load(REWARDS[args.what][0])(*args.words))


def _model(args: Namespace) -> int:
    if args.what == "new":
        recipe, _ = _recipe(args, stage="model")
        prepare_environment()
        _load("posttrain.modelling.new:new_model")(recipe, dry_run=args.dry_run)
        return 0
    prepare_environment()
    if args.what == "probe":
        _load("posttrain.modelling.probe:probe")(args.folder, engine=args.engine, attention=args.attention)
    elif args.what == "export":
        _load("posttrain.modelling.export:export_checkpoint")(args.checkpoint, out=args.out)
    else:
        convert = _load("posttrain.modelling.convert:convert_model")
        convert(args.folder, ratio=args.ratio, window=args.window, out=args.out)
    return 0


def _talk(args: Namespace) -> int:
    _load(TALK[args.command][0])(args)
    return 0


def _recipe(args: Namespace, **stage: str) -> tuple[Any, str]:
    """The recipe that was named, and as it is resolved."""
    from posttrain.recipe import load_recipe, resolved_yaml

    recipe = load_recipe(args.recipe, args.overrides, **stage)
    return recipe, resolved_yaml(recipe)


def _load(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


# All others are stages, or talk to a model.
RUNS: dict[str, Callable[[Namespace], int]] = {
    "run": _supervise,
    "check": _check,
    "plan": _plan,
    "simulate": _simulate,
    "compare": _compare,
    "demo": _demo,
    "doctor": _doctor,
    "recipes": _recipes,
    "rewards": _rewards,
    "model": _model,
}
