"""What has to hold of rollouts before an update is made with them. What does not ends the run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from posttrain.errors import UserError
from posttrain.time_limit import time_limit

# What engine and trainer may disagree by on the same weights (mean k3 over tokens, nats), by the trainer's precision.
MAX_MISMATCH_KL = {torch.float32: 1e-5, torch.bfloat16: 5e-3, torch.float16: 5e-3}
_GRACE_S = 10.0  # in which the error of a request that has timed out comes first


@contextmanager
def engine_at_work(step: int, limit_s: float | None) -> Iterator[None]:
    """The engine's work for a step; beyond `limit_s` seconds the process ends.

    Raises:
        RuntimeError: the engine failed.
    """
    try:
        with time_limit(limit_s and limit_s + _GRACE_S, f"the rollout engine's work for step {step}"):
            yield
    except UserError:
        raise
    except Exception as error:
        raise RuntimeError(
            f"the rollout engine failed at step {step} ({type(error).__name__}: {error}); no update was made with "
            "these rollouts, and the same command with --resume goes on from the last checkpoint"
        ) from error


def require_age(step: int, weights_version: int, *, most: int) -> None:
    """Refuse rollouts of weights that are older than `most` optimizer steps.

    Raises:
        RuntimeError: they are.
    """
    if not 0 <= step - weights_version <= most:
        allowed = f", {most} steps older at most were allowed" if most else ""
        raise RuntimeError(
            f"rollouts of step {step} were sampled with the weights of step {weights_version}{allowed}: the engine's "
            "weights are stale; no update was made with them"
        )


def require_agreement(step: int, mismatch_kl: float, limit: float) -> None:
    """Refuse rollouts of an engine that is not the trainer's policy.

    Raises:
        RuntimeError: on the same tokens and weights they differ by more than `limit` nats a token, or by NaN.
    """
    if not mismatch_kl <= limit:
        raise RuntimeError(
            f"rollout engine and trainer disagree at step {step}: mean KL {mismatch_kl:.3g} nats a token, "
            f"max_mismatch_kl is {limit:g}. The engine's weights are stale or its precision differs; no update was "
            "made with these rollouts."
        )
