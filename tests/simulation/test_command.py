import json
from pathlib import Path
from typing import Any

import pytest

from posttrain import cli
from posttrain.errors import UserError
from posttrain.simulation.decoding import StepTime
from posttrain.simulation.measured import read_run

RECIPE = "stage: {stage}\ntrainer: {{per_device_train_batch_size: 2, gradient_accumulation_steps: 2{more}}}\n"


def write_run(
    folder: Path, *, stage: str = "rl", seconds: tuple[float, ...] = (99.0, 30.0, 40.0, 38.0), more: str = ""
) -> Path:
    """Batches of 4 responses; as they are by default, a step of decoding takes 2 s and 1 s for each response."""
    lengths = ((1, 1.0), (5, 5.0), (10, 5.0), (9, 5.0))
    lines = [
        {
            "seconds/generate": took,
            "step_time": took + 10.0,
            "completions/max_length": longest,
            "completions/mean_length": mean,
        }
        for took, (longest, mean) in zip(seconds, lengths, strict=False)
    ]
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE.format(stage=stage, more=more))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "samples.jsonl").write_text(json.dumps({"num_tokens": 5}) + "\n")
    return folder


def test_speed_of_the_engine_follows_from_the_steps_and_tokens_of_batches_and_their_times(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run"))
    assert run.responses == 4
    assert (run.step_time.floor_s, run.step_time.per_response_s) == (pytest.approx(2.0), pytest.approx(1.0))
    assert (run.generation_s, run.update_s) == (36.0, pytest.approx(10.0))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((1.0, 30.0, 10.0, 20.0), StepTime(0.0, 60.0 / 60)),  # the longer the longest response, the faster
        ((1.0, 5.0, 20.0, 17.0), StepTime(42.0 / 24, 0.0)),  # the less, the more tokens
    ],
)
def test_no_part_of_a_step_takes_less_than_nothing(
    seconds: tuple[float, ...], expected: StepTime, tmp_path: Path
) -> None:
    assert read_run(write_run(tmp_path / "run", seconds=seconds)).step_time == expected


def test_table_has_a_row_for_each_number_of_servers_and_what_arithmetic_gives(tmp_path: Path, capsys: Any) -> None:
    """Four responses of 5 tokens: on one server 5 steps of 6 s, on two of 4 s; the update takes 10 s."""
    run = write_run(tmp_path / "run")
    assert cli.main(["simulate", str(run), "--servers", "1", "2", "--staleness", "0", "1", "--steps", "1000"]) == 0
    said = capsys.readouterr().out
    assert "a batch of 4 responses takes 36 s, all else of a step 10 s" in said
    rows = [line.split("│") for line in said.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row[1:-1]] for row in rows] == [
        ["1", "0%", "90.0 (25%, 75%)", "120.0 (33%, 100%)"],
        ["2", "0%", "120.0 (33%, 67%)", "179.9 (50%, 100%)"],
    ]


@pytest.mark.parametrize("more", ["steps_per_generation: 4", "steps_per_generation: 1", "num_iterations: 2"])
def test_a_run_whose_batches_are_not_those_of_its_steps_is_refused(more: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"has.* {more.replace(':', '')}.*; need a run whose every step trains once"):
        read_run(write_run(tmp_path / "run", more=f", {more}"))
    assert read_run(write_run(tmp_path / "same", more=", steps_per_generation: 2, num_iterations: 1")).responses == 4


def test_what_is_no_run_of_rl_is_refused(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(UserError, match="need the folder of an RL run"):
        read_run(tmp_path)
    with pytest.raises(UserError, match="has 3 steps of RL behind its first"):
        read_run(write_run(tmp_path / "sft", stage="sft"))
    with pytest.raises(UserError, match="has 1 steps of RL behind its first; need 3 or more"):
        read_run(write_run(tmp_path / "short", seconds=(1.0, 2.0)))
    for option, value in (("--servers", "0"), ("--steps", "0"), ("--responses", "0"), ("--staleness", "-1")):
        assert cli.main(["simulate", str(tmp_path / "short"), option, value]) == 2
        assert "need at least one server" in capsys.readouterr().err
