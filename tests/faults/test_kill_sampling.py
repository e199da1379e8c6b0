"""Faults 1 and 2 in the stages that sample: what was sampled is kept, and the end is that of an undisturbed run."""

import os
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.mortal import KillAtCall, die, posttrain, wrap
from tests.faults.sampling import GENERATE, RECIPES, content

pytestmark = pytest.mark.slow
Whole = Callable[[str], Path]


def stages(number: int, how: str) -> Any:
    """Parameters `stage` with the mark of this fault."""
    return [pytest.param(stage, marks=pytest.mark.fault(number, how, stage=stage)) for stage in RECIPES]


@pytest.mark.parametrize("stage", stages(1, "killed at a random call, twice"))
def test_a_sampling_stage_killed_anywhere_twice_ends_as_one_that_nobody_disturbed(
    stage: str, sampled: Whole, run_folder: Path
) -> None:
    whole = sampled(stage)
    rng, total = random.Random(stage), int(whole.with_suffix(".calls").read_text())
    words = (stage, f"{stage}.yaml", f"run={run_folder.name}")
    for low, high, resume in ((0.3, 0.8, []), (0.01, 0.15, ["--resume"])):
        kill = KillAtCall(rng.randrange(int(low * total), int(high * total)), within=GENERATE)
        ended = posttrain(*words, *resume, cwd=run_folder.parent, kill=kill)
        assert ended.code == -signal.SIGKILL, ended.err
    ended = posttrain(*words, "--resume", cwd=run_folder.parent)
    assert ended.code == 0, ended.err
    assert content(stage, run_folder) == content(stage, whole)


@pytest.mark.parametrize("stage", stages(2, "killed in the write of the second chunk"))
def test_a_sampling_stage_killed_while_a_chunk_is_written_samples_that_chunk_anew(
    stage: str, sampled: Whole, run_folder: Path
) -> None:
    words = (stage, f"{stage}.yaml", f"run={run_folder.name}")
    ended = posttrain(*words, cwd=run_folder.parent, before=partial(tear_second_write, stage))
    assert ended.code == -signal.SIGKILL, ended.err
    ended = posttrain(*words, "--resume", cwd=run_folder.parent)
    assert ended.code == 0, ended.err
    assert content(stage, run_folder) == content(stage, sampled(stage))


def tear_second_write(stage: str) -> None:
    """Die when the second chunk is on the disk but for its last bytes."""
    calls = 0

    def torn(original: Any, first: Any, second: Any, **more: Any) -> None:
        nonlocal calls
        calls += 1
        original(first, second, **more)
        if calls == 2:
            path = Path(first if stage == "eval" else second)
            os.truncate(path, path.stat().st_size - 20)
            die()

    wrap("posttrain.runs:append_json_lines" if stage == "eval" else "pyarrow.parquet:write_table", torn)
