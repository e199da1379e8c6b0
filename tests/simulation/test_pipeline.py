import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.simulation.pipeline import Timeline, run_pipeline

SECONDS = st.integers(1, 100).map(float)
BATCHES = st.lists(SECONDS, min_size=1, max_size=30)


def alike(*, generation_s: float, update_s: float, staleness: int, steps: int = 10) -> Timeline:
    return run_pipeline([generation_s] * steps, update_s=update_s, sync_s=1.0, staleness=staleness)


def test_at_staleness_0_generation_update_and_sync_follow_each_other() -> None:
    line = alike(generation_s=7, update_s=4, staleness=0)
    assert line.seconds == 10 * (7 + 4) + 9  # the servers have the first weights, and nobody needs the last
    assert (line.generating_s, line.updating_s, line.syncing_s) == (70, 40, 9)
    assert line.staleness == [0] * 10


@pytest.mark.parametrize(
    ("generation_s", "update_s", "seconds"),
    [(7, 4, 10 * 7 + 4), (4, 7, 4 + 10 * 7 + 8)],  # the first two batches are of the first weights
)
def test_at_staleness_1_a_step_takes_the_longer_of_generation_and_of_update_with_sync(
    generation_s: float, update_s: float, seconds: float
) -> None:
    line = alike(generation_s=generation_s, update_s=update_s, staleness=1)
    assert line.seconds == seconds
    assert line.staleness == [0] + [1] * 9


def test_more_staleness_saves_but_the_first_syncs_where_all_batches_take_as_long() -> None:
    one, four = (alike(generation_s=7, update_s=7, staleness=n, steps=100).seconds for n in (1, 4))
    assert one - four == 3


def test_at_staleness_2_a_long_batch_is_made_good_by_a_short_one() -> None:
    """Generation takes 2 and 10 in turn, an update 6."""
    times = [2.0, 10.0] * 50
    one, two = (run_pipeline(times, update_s=6.0, sync_s=0.0, staleness=n) for n in (1, 2))
    assert one.seconds == pytest.approx(100 * 8, rel=0.02)  # 6 and 10 in turn
    assert two.seconds == pytest.approx(100 * 6, rel=0.02)
    assert two.staleness == [0, 1] + [2] * 98


@given(BATCHES, SECONDS, SECONDS, st.integers(0, 4))
def test_every_batch_is_generated_and_learnt_from_once_and_as_stale_as_is_asked(
    generation_s: list[float], update_s: float, sync_s: float, staleness: int
) -> None:
    line = run_pipeline(generation_s, update_s=update_s, sync_s=sync_s, staleness=staleness)
    steps = len(generation_s)
    assert line.generating_s == sum(generation_s)
    assert line.updating_s == steps * update_s
    assert line.staleness == [min(batch, staleness) for batch in range(steps)]
    assert max(line.generating_s, line.updating_s + line.syncing_s) <= line.seconds
    assert line.seconds <= line.generating_s + line.updating_s + line.syncing_s


@given(BATCHES, SECONDS, SECONDS, st.integers(0, 4))
def test_more_staleness_never_makes_a_run_slower(
    generation_s: list[float], update_s: float, sync_s: float, staleness: int
) -> None:
    less, more = (
        run_pipeline(generation_s, update_s=update_s, sync_s=sync_s, staleness=bound).seconds
        for bound in (staleness, staleness + 1)
    )
    assert more <= less


@given(st.data(), BATCHES, SECONDS, SECONDS, st.integers(0, 4))
def test_one_batch_that_is_there_sooner_never_makes_a_run_slower(
    data: st.DataObject, generation_s: list[float], update_s: float, sync_s: float, staleness: int
) -> None:
    which = data.draw(st.integers(0, len(generation_s) - 1))
    sooner = [seconds / 2 if index == which else seconds for index, seconds in enumerate(generation_s)]
    before, after = (
        run_pipeline(times, update_s=update_s, sync_s=sync_s, staleness=staleness).seconds
        for times in (generation_s, sooner)
    )
    assert after <= before
