"""Faults 1 and 2: a run that is killed with SIGKILL, wherever it is, ends as one that nobody disturbed: bit for bit."""

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cases import CASES, TRAINED, again, assert_same_run, cases, checkpoints, manifest, metrics
from tests.faults.mortal import ROTATE, Kill, KillAtCall

pytestmark = pytest.mark.slow
Whole = Callable[[str], Path]

OPTIMIZER = "transformers:Trainer._save_optimizer_and_scheduler"
SEAL = "posttrain.run_folder.checkpoints:seal"
DELETE = "posttrain.run_folder.checkpoints:CheckpointFolder._delete"
IN_A_SAVE = (
    Kill(OPTIMIZER, after=True),  # weights and optimizer are written
    Kill(SEAL),  # all is written
    Kill(SEAL, after=True),  # sealed, not in place
    Kill(ROTATE, nth=3),  # in place, one more than the limit
    Kill(DELETE, after=True),  # one old one is deleted, another is not
)


@pytest.mark.parametrize("case", cases({1: "killed at a random call, twice"}, *CASES))
def test_a_run_killed_anywhere_twice_ends_as_one_that_nobody_disturbed(
    case: str, whole: Whole, workplace: Path, run_folder: Path
) -> None:
    expected, run_folder = whole(case), run_folder / CASES[case].part
    rng, calls = random.Random(case), int((workplace / f"{case}.calls").read_text())
    for low, high, resume in ((0.1, 0.7, False), (0.01, 0.2, True)):
        moment = KillAtCall(rng.randrange(int(low * calls), int(high * calls)), rank=CASES[case].processes - 1)
        ended = again(case, run_folder, kill=moment, resume=resume)
        assert ended.code == -signal.SIGKILL, ended.err
        noticed = {"failed"} if CASES[case].processes > 1 else set()  # by the rank that lives a moment longer
        assert manifest(run_folder)["status"] in {"running"} | noticed
    ended = again(case, run_folder)
    assert ended.code == 0, ended.err
    assert_same_run(run_folder, expected)


@pytest.mark.parametrize(
    "case", cases({2: "killed at five points of a save"}, "sft", "sft-lora", "rl", "rl-two", "pref", "context")
)
def test_a_run_killed_in_every_part_of_a_save_goes_on_from_a_whole_checkpoint(
    case: str, whole: Whole, run_folder: Path
) -> None:
    expected, run_folder = whole(case), run_folder / CASES[case].part
    for number, kill in enumerate(IN_A_SAVE):
        ended = again(case, run_folder, kill=kill, resume=number > 0)
        assert ended.code == -signal.SIGKILL, (kill, ended.err)
        for name in checkpoints(run_folder):
            assert name == ".aside" or (run_folder / "checkpoints" / name / "MANIFEST.json").exists()
    ended = again(case, run_folder)
    assert ended.code == 0, ended.err
    assert_same_run(run_folder, expected)
    assert checkpoints(run_folder) == ["checkpoint-4", "checkpoint-6", "checkpoint-8"]  # the next save would rotate
    assert "going on from checkpoint-8" in ended.out


@pytest.mark.parametrize("case", cases({1: "killed in a generation"}, "rl"))
def test_a_run_killed_while_it_generates_makes_the_same_rollouts_again(
    case: str, whole: Whole, run_folder: Path
) -> None:
    expected = whole(case)
    generate = "trl:GRPOTrainer._generate_single_turn"
    ended = again(case, run_folder, kill=KillAtCall(9000, within=generate), resume=False)
    assert ended.code == -signal.SIGKILL
    assert again(case, run_folder, kill=Kill(generate, nth=3, after=True)).code == -signal.SIGKILL
    ended = again(case, run_folder)
    assert ended.code == 0, ended.err
    assert_same_run(run_folder, expected)


@pytest.mark.parametrize("case", TRAINED[:3])
def test_the_runs_that_are_compared_move_and_reach_a_second_epoch(case: str, whole: Whole) -> None:
    run = whole(case)
    state = json.loads((run / "checkpoints" / "checkpoint-8" / "trainer_state.json").read_text())
    assert state["epoch"] > 1
    assert len({line["grad_norm"] for line in metrics(run)} - {0.0}) > 4
