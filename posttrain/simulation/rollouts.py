"""A whole RL run on simulated servers: steps an hour, who waits for whom, and how stale the samples are."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from posttrain.simulation.decoding import Decoded, StepTime, decode
from posttrain.simulation.lengths import Lengths
from posttrain.simulation.pipeline import run_pipeline


@dataclass(frozen=True, slots=True)
class Fleet:
    """The servers.

    Attributes:
        servers: how many, all alike.
        slots: responses that one of them runs at a time.
        step_time: of one of them.
    """

    servers: int
    slots: int
    step_time: StepTime


class Batches(NamedTuple):
    """What a fleet makes of every batch of a run.

    Attributes:
        decoded: each batch.
        straggling: share of the time that batches of as many tokens, their responses all alike, would not have taken.
    """

    decoded: list[Decoded]
    straggling: float


class Outcome(NamedTuple):
    """What came of a run.

    Attributes:
        steps_per_hour: updates.
        trainer_busy: share of the time in which the trainer updated.
        servers_busy: share of the time in which a server generated, on average over servers.
        staleness: share of the samples, by staleness.
    """

    steps_per_hour: float
    trainer_busy: float
    servers_busy: float
    staleness: dict[int, float]


def generate(lengths: Lengths, fleet: Fleet, *, responses: int, steps: int, seed: int) -> Batches:
    """The batches of a run of so many steps; the same responses on any fleet.

    Args:
        lengths: of responses.
        fleet: that generates them.
        responses: of a batch: prompts times group size.
        steps: batches.
        seed: of the lengths.
    """
    rng = random.Random(seed)
    batches = [lengths(rng, responses) for _ in range(steps)]

    def on_fleet(batch: Sequence[int]) -> Decoded:
        return decode(batch, servers=fleet.servers, slots=fleet.slots, step_time=fleet.step_time)

    decoded = [on_fleet(batch) for batch in batches]
    alike = [on_fleet([round(fmean(batch))] * len(batch)) for batch in batches]
    return Batches(decoded, 1 - sum(each.seconds for each in alike) / sum(each.seconds for each in decoded))


def simulate(batches: Batches, *, update_s: float, sync_s: float, staleness: int) -> Outcome:
    """Learn from these batches; the arguments are those of `run_pipeline`."""
    line = run_pipeline(
        [batch.seconds for batch in batches.decoded], update_s=update_s, sync_s=sync_s, staleness=staleness
    )
    steps, servers = len(batches.decoded), len(batches.decoded[0].busy_s)
    return Outcome(
        steps_per_hour=3600 * steps / line.seconds,
        trainer_busy=line.updating_s / line.seconds,
        servers_busy=sum(sum(batch.busy_s) for batch in batches.decoded) / servers / line.seconds,
        staleness={age: count / steps for age, count in sorted(Counter(line.staleness).items())},
    )
