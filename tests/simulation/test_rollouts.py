import json
import random
from pathlib import Path
from statistics import fmean

import pytest

from posttrain.errors import UserError
from posttrain.simulation.decoding import StepTime
from posttrain.simulation.lengths import lognormal, recorded
from posttrain.simulation.rollouts import Fleet, generate, simulate

FLEET = Fleet(servers=2, slots=8, step_time=StepTime(0.02, 0.001))
SKEWED = lognormal(mean=400, sigma=1.0, cap=2000)


def test_lengths_have_the_mean_and_the_skew_that_are_asked_for_and_end_at_the_cap() -> None:
    lengths = lognormal(mean=400, sigma=1.0, cap=10**6)(random.Random(0), 20_000)
    assert fmean(lengths) == pytest.approx(400, rel=0.05)
    assert sorted(lengths)[10_000] == pytest.approx(400 * 2.718281828**-0.5, rel=0.05)
    assert max(SKEWED(random.Random(0), 1000)) == 2000
    assert lognormal(mean=400, sigma=0.0, cap=2000)(random.Random(0), 3) == [400] * 3
    assert min(lognormal(mean=1, sigma=2.0, cap=2000)(random.Random(0), 100)) == 1  # no response is empty


def test_lengths_of_a_run_are_those_of_its_samples(tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_text("".join(json.dumps({"num_tokens": length}) + "\n" for length in (3, 5)))
    assert set(recorded(samples)(random.Random(0), 100)) == {3, 5}


def test_a_run_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="got no response with a `num_tokens`"):
        recorded(tmp_path / "samples.jsonl")


def test_constant_lengths_give_the_steps_an_hour_that_arithmetic_gives() -> None:
    """16 responses of 400 tokens on 2 x 8 slots: 400 steps of 0.028 s = 11.2 s; update 4.8 s, sync 2 s: 18 s a step."""
    batches = generate(lognormal(mean=400, sigma=0.0, cap=500), FLEET, responses=16, steps=100, seed=0)
    in_turn = simulate(batches, update_s=4.8, sync_s=2.0, staleness=0)
    assert in_turn.steps_per_hour == pytest.approx(200, rel=0.01)
    assert in_turn.trainer_busy == pytest.approx(4.8 / 18, rel=0.01)
    assert in_turn.servers_busy == pytest.approx(11.2 / 18, rel=0.01)
    assert in_turn.staleness == {0: 1.0}
    assert batches.straggling == 0
    beside = simulate(batches, update_s=4.8, sync_s=2.0, staleness=1)
    assert beside.steps_per_hour == pytest.approx(3600 / 11.2, rel=0.01)
    assert beside.staleness == {0: 0.01, 1: 0.99}


def test_skewed_lengths_are_the_same_for_a_seed_and_cost_time_to_stragglers() -> None:
    first, again, other = (generate(SKEWED, FLEET, responses=16, steps=5, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert 0.2 < first.straggling < 1


def test_another_fleet_gets_the_same_responses() -> None:
    """On one slot a batch takes its tokens, one after the other."""
    one = Fleet(servers=1, slots=1, step_time=StepTime(1.0))
    rng = random.Random(0)
    tokens = [sum(SKEWED(rng, 16)) for _ in range(3)]
    assert [batch.seconds for batch in generate(SKEWED, one, responses=16, steps=3, seed=0).decoded] == tokens
