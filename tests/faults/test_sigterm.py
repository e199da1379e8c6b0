"""Fault 17: a machine that is wanted back sends SIGTERM, in the middle of a step."""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import distributed

from tests.faults.cases import CASES, again, assert_same_run, checkpoints, manifest
from tests.faults.mortal import posttrain, wrap
from tests.faults.sampling import GENERATE, content
from tests.faults.sampling import RECIPES as SAMPLING

pytestmark = pytest.mark.slow

STEP = "transformers:Trainer.training_step"
GENERATION = "trl:GRPOTrainer._generate_single_turn"


def terminate(function: str, nth: int, rank: str = "0") -> None:
    """Get SIGTERM in the nth call of a function, in one process."""
    calls = 0

    def terminated(original: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    if os.environ.get("RANK", "0") == rank:
        wrap(function, terminated)
    wrap("posttrain.cli:main", telling_of_its_group)


def telling_of_its_group(main: Any, *words: Any) -> int:
    code: int = main(*words)
    if distributed.is_initialized():
        sys.stderr.write("the process group is still there, and its threads with it\n")
    return code


# Stage, processes, where the signal comes, and the step of the checkpoint: in RL two updates share a generation, so the
# one that begins with step 3 is used up after step 4.
TERMINATED = [
    pytest.param(*case, marks=pytest.mark.fault(17, f"SIGTERM in {where}", stage=case[0]))
    for where, case in (
        ("the first micro-batch of step 3", ("sft", 1, STEP, 5, 3)),
        ("one of two processes", ("sft", 2, STEP, 5, 3)),
        ("an update", ("rl", 1, STEP, 3, 4)),
        ("a generation", ("rl", 1, GENERATION, 2, 4)),
        ("the second micro-batch of step 3", ("pref", 1, STEP, 6, 3)),
        ("step 3", ("context", 1, STEP, 3, 3)),
    )
]


@pytest.mark.parametrize(("stage", "processes", "function", "nth", "step"), TERMINATED)
def test_a_terminated_run_is_saved_at_the_next_step_and_goes_on_as_if_nothing_was(
    stage: str, processes: int, function: str, nth: int, step: int, workplace: Path, run_folder: Path
) -> None:
    words = ("trainer.save_steps=100", "trainer.save_total_limit=100")
    words += ("rewards=[{use: 'tests.faults.wrong_rewards:even'}]",) if stage == "rl" else ()
    whole, run = (
        folder / CASES[stage].part for folder in (workplace / f"{stage}-{processes}-unterminated", run_folder)
    )
    if not whole.exists():
        ended = again(stage, whole, *words, resume=False, processes=processes)
        assert ended.code == 0, ended.err
    before = partial(terminate, function, nth, str(processes - 1))
    ended = again(stage, run, *words, resume=False, before=before, processes=processes)
    assert ended.code == 75, ended.err
    assert "interrupted: the same command with --resume" in ended.err
    assert "the process group is still there" not in ended.err
    assert manifest(run_folder)["status"] == manifest(run)["status"] == "interrupted"
    assert checkpoints(run) == [f"checkpoint-{step}"]
    assert not (run / "model").exists()
    ended = again(stage, run, *words, processes=processes)
    assert ended.code == 0, ended.err
    assert_same_run(run, whole)


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=pytest.mark.fault(17, "SIGTERM in the second chunk", stage=stage))
        for stage in SAMPLING
    ],
)
def test_a_terminated_sampling_stage_goes_on_at_the_chunk_that_it_was_in(
    stage: str, workplace: Path, sampled: Callable[[str], Path], run_folder: Path
) -> None:
    words = (stage, f"{stage}.yaml", f"run={run_folder.name}")
    ended = posttrain(*words, cwd=workplace, before=partial(terminate, GENERATE, 2))
    assert ended.code == 75, ended.err
    assert manifest(run_folder)["status"] == "interrupted"
    calls = run_folder.with_name(f"{run_folder.name}-calls")
    ended = posttrain(*words, "--resume", cwd=workplace, before=partial(count_calls, GENERATE, str(calls)))
    assert ended.code == 0, ended.err
    assert len(calls.read_text()) == 3  # of four chunks
    assert content(stage, run_folder) == content(stage, sampled(stage))


def count_calls(function: str, path: str) -> None:
    """Write a letter for each call."""

    def counted(original: Any, *args: Any, **kwargs: Any) -> Any:
        with Path(path).open("a") as file:
            file.write("x")
        return original(*args, **kwargs)

    wrap(function, counted)
