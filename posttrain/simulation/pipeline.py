"""Batches that servers generate and a trainer learns from, beside each other as far as a bound on staleness lets them.

Version k of the weights is what k updates have made; batch k serves the update that makes version k + 1. Sampled under
version v its staleness is k - v.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timeline:
    """What a pipeline did, in seconds over all its steps.

    Attributes:
        seconds: from the first prompt to the last update.
        updating_s: in which the trainer updated.
        generating_s: in which the servers had a batch.
        syncing_s: in which both moved weights.
        staleness: of each batch.
    """

    seconds: float = 0.0
    updating_s: float = 0.0
    generating_s: float = 0.0
    syncing_s: float = 0.0
    staleness: list[int] = field(default_factory=list)


def run_pipeline(generation_s: Sequence[float], *, update_s: float, sync_s: float, staleness: int) -> Timeline:
    """Every batch is generated once, under one version, and learnt from once, in order.

    Servers begin the next batch as soon as the bound allows it with the weights that they have. Weights are moved where
    servers are between two batches and the trainer between two updates; both wait for it. So at staleness 0 a step is
    generation, update and sync one after the other, and at 1 the longer one of the first two, and the sync.

    Args:
        generation_s: seconds of each batch.
        update_s: seconds of an update, with all else that the trainer does for a step.
        sync_s: seconds until servers have new weights.
        staleness: no batch is staler.
    """
    line = Timeline()
    held = generated = updated = 0  # the servers' version; batches that are there; updates, which is the trainer's one
    servers_until: float | None = None  # when what they do is done; None: nothing
    trainer_until: float | None = None
    now = 0.0
    while updated < len(generation_s):
        is_more = generated < len(generation_s)
        if servers_until is None and trainer_until is None and is_more and held < updated:
            now, held = now + sync_s, updated
            line.syncing_s += sync_s
        if servers_until is None and is_more and generated - held <= staleness:
            servers_until = now + generation_s[generated]
            line.generating_s += generation_s[generated]
            line.staleness.append(generated - held)
        if trainer_until is None and updated < generated:
            trainer_until = now + update_s
            line.updating_s += update_s
        now = min(until for until in (servers_until, trainer_until) if until is not None)
        if servers_until == now:
            servers_until, generated = None, generated + 1
        if trainer_until == now:
            trainer_until, updated = None, updated + 1
    line.seconds = now
    return line
