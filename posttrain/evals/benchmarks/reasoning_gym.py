"""Any task of the package `reasoning-gym`, made from its seed and graded by its own verifier."""

from typing import Any

from posttrain.evals.benchmark import Benchmark
from posttrain.recipe import RewardSpec
from rewards.reasoning_gym import make_rows


def reasoning_gym(*, task: str, size: int = 200, seed: int = 0, settings: dict[str, Any] | None = None) -> Benchmark:
    """Problems of one task.

    Args:
        task: the package's name of it, such as "leg_counting".
        size: questions.
        seed: the package's.
        settings: of the task, as the package names them.
    """
    rows = make_rows(task, size=size, seed=seed, **(settings or {}))
    return Benchmark(list(rows), [RewardSpec(use="rewards.reasoning_gym:ReasoningGym")])
