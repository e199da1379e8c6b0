import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.simulation.decoding import StepTime, decode

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)
STEP_TIMES = st.builds(StepTime, st.floats(0.001, 1.0), st.floats(0.0, 0.1))


def test_responses_of_one_length_take_as_many_steps_at_the_speed_of_a_full_server() -> None:
    done = decode([10] * 4, servers=1, slots=4, step_time=StepTime(1.0, 0.5))
    assert done.finished_s == [30.0] * 4  # 10 steps of 1 + 4 x 0.5
    assert decode([10] * 4, servers=2, slots=4, step_time=StepTime(1.0, 0.5)).busy_s == [20.0, 20.0]  # two on each


def test_the_longest_response_runs_on_alone_at_the_speed_of_one() -> None:
    done = decode([2, 5], servers=1, slots=2, step_time=StepTime(1.0, 1.0))
    assert done.finished_s == [6.0, 12.0]  # 2 steps of 3, then 3 of 2
    assert done.seconds == 12.0


def test_a_response_that_waits_takes_the_first_slot_that_is_free() -> None:
    done = decode([4, 1, 2], servers=1, slots=2, step_time=StepTime(1.0))
    assert done.finished_s == [4.0, 1.0, 3.0]  # the third begins after the second


def test_of_two_servers_the_one_that_is_done_first_goes_on_with_what_waits() -> None:
    done = decode([1, 5, 3], servers=2, slots=1, step_time=StepTime(2.0))
    assert done.finished_s == [2.0, 10.0, 8.0]
    assert done.busy_s == [8.0, 10.0]
    assert decode([5, 1, 3], servers=2, slots=1, step_time=StepTime(2.0)).busy_s == [10.0, 8.0]


def test_a_server_that_gets_nothing_is_never_busy() -> None:
    assert decode([3], servers=2, slots=1, step_time=StepTime(1.0)).busy_s == [3.0, 0.0]
    assert decode([], servers=1, slots=1, step_time=StepTime(1.0)).seconds == 0.0


@given(LENGTHS, st.integers(1, 4), st.integers(1, 8), STEP_TIMES)
def test_every_response_ends_within_what_its_tokens_take_alone_and_all_take_one_after_the_other(
    lengths: list[int], servers: int, slots: int, step_time: StepTime
) -> None:
    done = decode(lengths, servers=servers, slots=slots, step_time=step_time)
    assert len(done.finished_s) == len(lengths)
    for length, finished_s in zip(lengths, done.finished_s, strict=True):
        assert finished_s >= length * step_time(1) * (1 - 1e-9)
    assert done.seconds == pytest.approx(max(done.busy_s))
    assert done.seconds <= sum(lengths) * step_time(1) * (1 + 1e-9)


@given(LENGTHS, st.integers(1, 8), STEP_TIMES)
def test_time_on_one_server_is_its_steps_times_the_floor_and_its_tokens_times_the_slope(
    lengths: list[int], slots: int, step_time: StepTime
) -> None:
    def seconds(of: StepTime) -> float:
        return decode(lengths, servers=1, slots=slots, step_time=of).seconds

    steps = seconds(StepTime(1.0))
    assert steps >= max(lengths)
    assert seconds(step_time) == pytest.approx(step_time.floor_s * steps + step_time.per_response_s * sum(lengths))


@given(LENGTHS, st.integers(1, 4), st.integers(1, 8))
def test_one_server_more_is_never_slower_where_a_step_takes_as_long_with_any_number_of_responses(
    lengths: list[int], servers: int, slots: int
) -> None:
    """Not so in general: dealt out anew, the longest response may come to run beside longer ones."""
    few, more = (decode(lengths, servers=n, slots=slots, step_time=StepTime(1.0)) for n in (servers, servers + 1))
    assert more.seconds <= few.seconds


def test_one_server_more_can_be_slower_where_responses_slow_each_other_down() -> None:
    lengths, step_time = [9, 1, 1, 9], StepTime(1.0, 1.0)
    two, three = (decode(lengths, servers=n, slots=4, step_time=step_time).seconds for n in (2, 3))
    assert (two, three) == (19.0, 27.0)
