"""What a simulation takes, from an RL run that was made: lengths, the speed of its engine, the time of its updates."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from posttrain.errors import UserError
from posttrain.simulation.decoding import StepTime
from posttrain.simulation.lengths import Lengths, recorded

FEWEST_STEPS = 3  # two figures are fitted


@dataclass(frozen=True, slots=True)
class Measured:
    """A run's figures.

    Attributes:
        lengths: of its responses.
        responses: of one batch.
        step_time: of its engine, with all of a batch in slots.
        generation_s: of a batch, on average.
        update_s: all else of a step.
    """

    lengths: Lengths
    responses: int
    step_time: StepTime
    generation_s: float
    update_s: float


def read_run(folder: Path, *, responses: int | None = None) -> Measured:
    """The figures of an RL run; its first step is left out, which warms up.

    Args:
        folder: of the run.
        responses: of one batch; None: as the recipe has it for one process.

    Raises:
        UserError: it is no RL run, has too few steps, or its batches are not those of its steps.
    """
    try:
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
        text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"no {error.filename}; need the folder of an RL run") from error
    steps = [line for line in map(json.loads, text.splitlines()) if "seconds/generate" in line][1:]
    if recipe["stage"] != "rl" or len(steps) < FEWEST_STEPS:
        raise UserError(f"{folder} has {len(steps)} steps of RL behind its first; need {FEWEST_STEPS} or more")
    _require_a_batch_a_step(folder, recipe["trainer"])
    responses = responses or _responses(recipe["trainer"])
    seconds = np.array([line["seconds/generate"] for line in steps])
    return Measured(
        lengths=recorded(folder / "samples.jsonl"),
        responses=responses,
        step_time=_fitted(steps, responses, seconds),
        generation_s=float(seconds.mean()),
        update_s=float(np.mean([line["step_time"] for line in steps]) - seconds.mean()),
    )


def _require_a_batch_a_step(folder: Path, trainer: dict[str, Any]) -> None:
    """Else neither generation nor all else are the times of a step."""
    accumulation = trainer.get("gradient_accumulation_steps", 1)
    per_batch, times = trainer.get("steps_per_generation") or accumulation, trainer.get("num_iterations", 1)
    if (per_batch, times) != (accumulation, 1):
        raise UserError(
            f"{folder} has steps_per_generation {per_batch}, gradient_accumulation_steps {accumulation} and "
            f"num_iterations {times}; need a run whose every step trains once on one batch"
        )


def _responses(trainer: dict[str, Any]) -> int:
    """AGAPO's defaults are TRL's here: 8 responses, and no accumulation."""
    per_step = trainer.get("per_device_train_batch_size", 8) * trainer.get("gradient_accumulation_steps", 1)
    return int(per_step)


def _fitted(steps: list[dict[str, Any]], responses: int, seconds: Any) -> StepTime:
    """Where all responses run at once, a batch takes the floor once a step and the rest once a token: least squares."""
    longest = np.array([line["completions/max_length"] for line in steps])
    tokens = np.array([responses * line["completions/mean_length"] for line in steps])
    floor_s, per_response_s = np.linalg.lstsq(np.stack([longest, tokens], axis=1), seconds, rcond=None)[0]
    if floor_s <= 0:
        return StepTime(0.0, float(seconds.sum() / tokens.sum()))
    if per_response_s < 0:
        return StepTime(float(seconds.sum() / longest.sum()))
    return StepTime(float(floor_s), float(per_response_s))
