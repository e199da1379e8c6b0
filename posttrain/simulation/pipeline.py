"""Batches that servers generate and a trainer learns from, beside each other as far as staleness lets them.

Version k of the weights is what k updates have made; batch k serves the update that makes version k + 1.
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
        syncing_s: in which the trainer handed over weights.
        staleness: of each batch: how many updates the weights that sampled it lack.
    """

    seconds: float = 0.0
    updating_s: float = 0.0
    generating_s: float = 0.0
    syncing_s: float = 0.0
    staleness: list[int] = field(default_factory=list)


def run_pipeline(generation_s: Sequence[float], *, update_s: float, sync_s: float, staleness: int) -> Timeline:
    """Every batch is generated once, under one version, and learnt from once, in order.

    Before update k the trainer hands batch k + staleness to the servers, with version k. They generate one batch after
    another, each as soon as it is handed to them. So at staleness 0 a step is sync, generation and update one after the
    other, and from 1 on, where all batches take as long, the longer of generation and of update with sync.

    Args:
        generation_s: seconds of each batch.
        update_s: seconds of an update, with all else that the trainer does for a step.
        sync_s: seconds that the trainer takes to hand over weights.
        staleness: of all batches but the first ones, which are sampled by the weights that the run starts with.
    """
    line = Timeline()
    handed_s = [0.0] * (staleness + 1)  # when the servers were given each batch
    servers_free_s = now_s = 0.0
    for batch, seconds in enumerate(generation_s):
        if 0 < batch < len(generation_s) - staleness:
            now_s += sync_s
            line.syncing_s += sync_s
            handed_s.append(now_s)
        servers_free_s = max(servers_free_s, handed_s[batch]) + seconds
        now_s = max(now_s, servers_free_s) + update_s
        line.generating_s += seconds
        line.updating_s += update_s
        line.staleness.append(min(batch, staleness))
    line.seconds = now_s
    return line
