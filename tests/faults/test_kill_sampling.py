"""Fault 1 in the stages that sample: what was sampled is kept, and the end is that of a run that nobody disturbed."""

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.faults.mortal import KillAtCall, posttrain

pytestmark = pytest.mark.slow

GENERATE = "posttrain.inference.transformers_engine:TransformersEngine.generate"
HEAD = (
    'data: {sources: [{path: rl.jsonl}]}\nengine: {name: transformers}\nrewards: [{use: "even:even"}]\nchunk_size: 2\n'
)
WARM = "mode: non_reasoning, temperature: 1.0, max_new_tokens: 12"
UNTIL_SOME_END = (
    "mode: non_reasoning, temperature: 1.0, max_new_tokens: 40, samples: 12"  # one that is cut is not chosen
)
RECIPES = {
    "filter": f"decoding: {{{WARM}, samples: 3}}\nkeep: {{pass_rate_below: 1.0}}\n",
    "pairs": f"decoding: {{{UNTIL_SOME_END}}}\npairs: {{builder: shortest_correct, min_correct_share: 0.1}}\n",
    "eval": f"label: x\ndecodings: [{{name: warm, {WARM}, samples: 2}}]\n",
}
WRITTEN = {"filter": ("prompts.jsonl", "dropped.jsonl"), "pairs": ("pairs.parquet", "pair_report.json"), "eval": ()}


def content(stage: str, run: Path) -> Any:
    """What the run wrote, but for what a clock says."""
    written: list[Any] = [(run / name).read_bytes() for name in WRITTEN[stage]]
    if stage == "eval":
        lines = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
        written = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return written


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=pytest.mark.fault(1, "killed at a random call, twice", stage=stage))
        for stage in RECIPES
    ],
)
def test_a_sampling_stage_killed_anywhere_twice_ends_as_one_that_nobody_disturbed(
    stage: str, workplace: Path, model_folder: Path
) -> None:
    recipe = f"stage: {stage}\nrun: run\nmodel: {{path: {model_folder}}}\n{HEAD}{RECIPES[stage]}"
    (workplace / f"{stage}.yaml").write_text(recipe)
    calls = workplace / f"{stage}.calls"
    counter = KillAtCall(None, within=GENERATE, count_to=str(calls))
    ended = posttrain(stage, f"{stage}.yaml", f"run={stage}-whole", cwd=workplace, kill=counter)
    assert ended.code == 0, ended.err

    rng, total = random.Random(stage), int(calls.read_text())
    words = (stage, f"{stage}.yaml", f"run={stage}-killed")
    for low, high, resume in ((0.3, 0.8, []), (0.01, 0.15, ["--resume"])):
        kill = KillAtCall(rng.randrange(int(low * total), int(high * total)), within=GENERATE)
        ended = posttrain(*words, *resume, cwd=workplace, kill=kill)
        assert ended.code == -signal.SIGKILL, ended.err
    ended = posttrain(*words, "--resume", cwd=workplace)
    assert ended.code == 0, ended.err
    assert content(stage, workplace / f"{stage}-killed") == content(stage, workplace / f"{stage}-whole")
