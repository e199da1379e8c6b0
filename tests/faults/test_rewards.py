"""Faults 10 to 15: rewards that go wrong in the middle of a run, in the real stages with their real workers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import manifest, metrics, weights
from tests.faults.mortal import posttrain
from tests.faults.sampling import RECIPES as SAMPLING

pytestmark = pytest.mark.slow

MODULE = "tests.faults.wrong_rewards"
# The way, and the cause that it is counted under.
WAYS = {
    "nan": "raised",  # where the verdict is made: the contract refuses it
    "infinite": "raised",
    "text": "raised",
    "no_verdict": "no_verdict",
    "raises": "raised",
    "hangs": "timeout",
    "kills": "died",
}
TRL_WAYS = {"wrong_length": "raised", "texts": "raised"}
FAULTS = {
    10: "scores of NaN",
    11: "scores of infinity",
    12: "raises",
    13: "sleeps for ten minutes",
    14: "returns texts, numbers and lists of the wrong length",
    15: "kills its worker",
}
ALL_WRONG = [
    *({"use": f"{MODULE}:Wrong", "args": {"way": way}, "name": way, "weight": 0.1} for way in WAYS),
    *({"use": f"{MODULE}:{way}", "name": way, "style": "trl", "weight": 0.1} for way in TRL_WAYS),
]


def faulty(*stages: str) -> Any:
    """Parameters `stage` with the marks of all these faults."""
    return [
        pytest.param(stage, marks=[pytest.mark.fault(*fault, stage=stage) for fault in FAULTS.items()])
        for stage in stages
    ]


def run_sampling(stage: str, rewards: list[dict[str, Any]], run: Path, *words: str) -> Any:
    all_rewards = json.dumps([{"use": f"{MODULE}:even", "name": "even"}, *rewards])
    words = (f"run={run.name}", f"rewards={all_rewards}", "grading.timeout_s=2", *words)
    words += () if stage == "pairs" else ("check_gold=false",)
    return posttrain(stage, f"{stage}.yaml", *words, cwd=run.parent)


def run_rl(rewards: list[dict[str, Any]], workplace: Path, run: Path, *words: str) -> Any:
    all_rewards = [{"use": f"{MODULE}:even", "name": "even"}, *rewards]
    return posttrain(
        "rl",
        "rl.yaml",
        f"run={run.name}",
        f"rewards={json.dumps(all_rewards)}",
        "check_gold=false",
        "grading.timeout_s=2",
        "trainer.steps_per_generation=1",
        *words,
        cwd=workplace,
    )


def samples(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stage", faulty(*SAMPLING))
def test_a_sampled_response_at_which_a_reward_goes_wrong_is_left_out_and_told(stage: str, run_folder: Path) -> None:
    more = {"filter": ("decoding.samples=8",), "eval": ("decodings.0.samples=8",), "pairs": ()}[stage]
    ended = run_sampling(stage, ALL_WRONG, run_folder, "grading.max_broken_share=1.0", *more)
    assert ended.code == 0, ended.err
    told = set[str]()
    for sample in samples(run_folder):
        broken = {name: verdict for name, verdict in sample["verdicts"].items() if "cause" in verdict}
        assert {name: verdict["cause"] for name, verdict in broken.items()}.items() <= (WAYS | TRL_WAYS).items()
        assert all(verdict["score"] is None and verdict["reason"] for verdict in broken.values())
        assert (sample["reward"] is None) == bool(broken)
        told |= broken.keys()
    assert told == {*WAYS, *TRL_WAYS}
    assert {*manifest(run_folder)["notes"]["broken"]} == told


@pytest.mark.parametrize("stage", SAMPLING)
@pytest.mark.faults
def test_a_reward_that_always_goes_wrong_stops_a_sampling_stage(stage: str, run_folder: Path) -> None:
    rewards = [{"use": f"{MODULE}:Wrong", "args": {"way": "raises", "always": True}, "name": "raises"}]
    ended = run_sampling(stage, rewards, run_folder)
    assert ended.code == 2
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert "rewards broke on" in line
    assert "'raises'" in line


@pytest.mark.fault(20, "all golds null", stage="pairs")
def test_responses_to_prompts_without_gold_are_no_pairs_and_counted(workplace: Path, run_folder: Path) -> None:
    rows = [json.loads(line) | {"answer": None} for line in (workplace / "rl.jsonl").read_text().splitlines()]
    (workplace / "no_gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = (f"run={run_folder.name}", "data.sources=[{path: no_gold.jsonl}]")
    rewards = "rewards=[{use: 'rewards.math_answer:math_answer'}]"
    ended = posttrain("pairs", "pairs.yaml", *words, rewards, cwd=workplace)
    assert ended.code == 2
    assert "unscorable" in ended.err.splitlines()[-1]


@pytest.mark.parametrize("stage", faulty("rl"))
def test_a_response_at_which_a_reward_goes_wrong_is_left_out_counted_and_told(
    stage: str, workplace: Path, run_folder: Path
) -> None:
    ended = run_rl(ALL_WRONG, workplace, run_folder, "grading.max_broken_share=1.0")
    assert ended.code == 0, ended.err
    assert all(weight.isfinite().all() for weight in weights(run_folder).values())
    told = set()
    for sample in samples(run_folder):
        for way, cause in {**WAYS, **TRL_WAYS}.items():
            verdict = sample["verdicts"][way]
            if "cause" in verdict:
                assert verdict["cause"] == cause
                assert verdict["score"] is None
                assert verdict["reason"]
                assert sample["reward"] is None
                assert sample["advantage"] == 0.0
                told.add(way)
        assert sample["reward"] is None or math.isfinite(sample["reward"])
    assert len(told) >= 3, told  # samples.jsonl has some steps
    lines = metrics(run_folder)
    for cause in {*WAYS.values()}:
        assert sum(line[f"samples/broken/{cause}"] for line in lines) > 0, cause
    assert all(line["samples/unscorable"] >= line["samples/broken"] > 0 for line in lines)
    assert all(line["reward"] is not None and line["loss"] is not None for line in lines)


ALWAYS = {"nan": 10, "raises": 12, "hangs": 13, "no_verdict": 14, "kills": 15}


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=pytest.mark.fault(number, f"{way} for every response", stage="rl"))
        for way, number in ALWAYS.items()
    ],
)
def test_a_reward_that_always_goes_wrong_stops_the_run_in_one_line(way: str, workplace: Path, run_folder: Path) -> None:
    rewards = [{"use": f"{MODULE}:Wrong", "args": {"way": way, "always": True}, "name": way}]
    ended = run_rl(rewards, workplace, run_folder)
    assert ended.code == 2
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert f"rewards broke on 2 of the last 2 attempts ('{way}' 2 times)" in line
    assert manifest(run_folder)["status"] == "failed"
    assert not (run_folder / "model").exists()
