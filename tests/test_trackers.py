"""What `trainer.report_to` names gets every metric of a run, its alarms included, and no secret of its environment.

One run reports to all trackers that the lock has.
"""

import json
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from posttrain import training
from posttrain.alarms import Alarms
from posttrain.recipe import SFTRecipe, load_recipe

pytestmark = pytest.mark.slow

TRACKERS = ("tensorboard", "trackio", "wandb")
SECRETS = {"HF_TOKEN": "hf_" + "s3cret" * 6, "WANDB_API_KEY": "5ec3e7" * 7, "JUDGE_KEY": "sk-" + "s3cret" * 5}


class SensitiveAlarms(Alarms):
    def found(self, logs: dict[str, Any]) -> dict[str, str | None]:
        return {"grad_norm": "it rings at every step" if "grad_norm" in logs else None}


class Tracked(NamedTuple):
    """A finished run, and where its trackers wrote."""

    metrics: list[dict[str, float]]
    run: Path
    folder: Path


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, demo_files: dict[str, Path]) -> Tracked:
    import wandb

    from posttrain.sft.stage import run_stage

    folder = tmp_path_factory.mktemp("tracked")
    recipe_file = folder / "sft.yaml"
    recipe_file.write_text(
        f"""\
stage: sft
run: {folder / "run"}
model: {{path: {model_folder}}}
data:
  sources:
    - {{path: {demo_files["sft_reasoning"]}}}
    - {{path: {demo_files["sft_non_reasoning"]}}}
mixer: {{use: "data_mixers.by_tokens:ByTokens", args: {{shares: {{reasoning: 1.5, non_reasoning: 1.0}}}}}}
trainer:
  max_steps: 2
  logging_steps: 1
  per_device_train_batch_size: 6
  learning_rate: 1e-3
  save_strategy: "no"
  report_to: {json.dumps(TRACKERS)}
  project: pytest
  run_name: "${{run}}"
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))
        patch.setenv("WANDB_DIR", str(folder))
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        patch.setattr(training, "Alarms", SensitiveAlarms)
        recipe = load_recipe(recipe_file)
        assert isinstance(recipe, SFTRecipe)
        with pytest.warns(UserWarning, match="rings at every step"):
            run_stage(recipe, resume=False)
        wandb.teardown()  # as the end of the process does; only then is its file whole
    metrics = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [1, 2]
    assert all({"loss", "tokens/ratio", "alarm/grad_norm"} <= line.keys() for line in metrics)
    return Tracked(metrics, folder / "run", folder)


def test_tensorboard_has_every_metric_of_every_step(tracked: Tracked) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tracked.folder / "tensorboard")).Reload()
    found = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    for name in tracked.metrics[0].keys() - {"step", "time"}:
        expected = [(line["step"], pytest.approx(line[name])) for line in tracked.metrics]
        assert found[f"train/{name}"][:2] == expected  # the summary of the run repeats some


def test_trackio_has_every_metric_of_every_step(tracked: Tracked) -> None:
    with sqlite3.connect(Path(os.environ["TRACKIO_DIR"]) / "pytest.db") as database:  # read once, at its import
        rows = database.execute("SELECT run_name, metrics FROM metrics ORDER BY id").fetchall()
    assert {name for name, _ in rows} == {str(tracked.run)}
    require_same([json.loads(content) for _, content in rows], tracked.metrics)


def test_wandb_has_every_metric_of_every_step_offline(tracked: Tracked) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = tracked.folder.glob("wandb/offline-run-*/run-*.wandb")
    records = [Record.FromString(content) for content in log_records(file.read_bytes()[7:], 7)]
    histories = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    logged = [{"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row} for row in histories]
    require_same(logged, tracked.metrics)


def require_same(logged: list[dict[str, Any]], metrics: list[dict[str, float]]) -> None:
    """A tracker's lines with the run's own, step by step; a line of the summary follows."""
    steps = {line["train/global_step"]: line for line in logged if "train/loss" in line}
    assert steps.keys() == {1, 2}
    for line in metrics:
        for name in line.keys() - {"step", "time"}:
            assert steps[line["step"]][f"train/{name}"] == pytest.approx(line[name])


def log_records(content: bytes, begin: int) -> Iterator[bytes]:
    """Of a LevelDB log, which is what wandb writes: blocks of 32 KiB with pieces, each with checksum, length and kind.

    https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    position, whole = 0, b""
    while position + 7 <= len(content):
        if (left := -(begin + position) % 32768) and left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full, or the last piece
            yield whole
            whole = b""


def test_no_secret_of_the_environment_is_in_what_a_run_or_its_trackers_wrote(tracked: Tracked) -> None:
    folders = tracked.folder, Path(os.environ["TRACKIO_DIR"])
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert {part for path in files for part in path.parts} >= {"tensorboard", "pytest.db", "wandb"}
    for path in files:
        content = path.read_bytes()
        assert not [name for name, value in SECRETS.items() if value.encode() in content], path
