"""How many tokens responses have: drawn from a skewed distribution, or those of a run."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

from posttrain.errors import UserError

Lengths = Callable[[random.Random, int], list[int]]


def lognormal(*, mean: float, sigma: float, cap: int) -> Lengths:
    """Most responses are short and a few very long, as thinking is.

    Args:
        mean: tokens, before the longest are cut.
        sigma: the standard deviation of the logarithm; 0: all are alike.
        cap: `max_completion_length`.
    """
    mu = math.log(mean) - sigma**2 / 2

    def draw(rng: random.Random, count: int) -> list[int]:
        return [min(cap, max(1, round(rng.lognormvariate(mu, sigma)))) for _ in range(count)]

    return draw


def recorded(samples: Path) -> Lengths:
    """Those of a run's `samples.jsonl`, drawn with replacement.

    Raises:
        UserError: it has none.
    """
    lines = samples.read_text(encoding="utf-8").splitlines() if samples.is_file() else []
    known = [int(record["num_tokens"]) for record in map(json.loads, lines) if record.get("num_tokens")]
    if not known:
        raise UserError(f"got no response with a `num_tokens` in {samples}; need the samples of an RL run")
    return lambda rng, count: rng.choices(known, k=count)
