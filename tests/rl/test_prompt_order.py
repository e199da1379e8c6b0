"""Which prompts a step gets follows from the seed and the position alone."""

import pytest

from posttrain.rl.prompt_order import EpochOrder, extra_prompts

ROWS = [f"row {number}" for number in range(40)]


def test_further_prompts_are_different_rows_each_as_often_as_a_group_has_responses() -> None:
    drawn = extra_prompts(ROWS, 5, copies=3, seed=(0, 7, 1))
    assert drawn == [row for row in drawn[::3] for _ in range(3)]
    assert len(set(drawn[::3])) == 5


def test_every_refill_of_every_step_draws_its_own_and_a_resumed_run_the_same() -> None:
    seeds = [(seed, step, extra) for seed in (0, 1) for step in (7, 8) for extra in (1, 2)]
    draws = [extra_prompts(ROWS, 5, copies=1, seed=seed) for seed in seeds]
    assert len(set(map(tuple, draws))) == len(seeds)
    assert draws == [extra_prompts(ROWS, 5, copies=1, seed=seed) for seed in seeds]


def test_a_refill_from_fewer_prompts_than_a_batch_takes_is_an_error() -> None:
    assert sorted(extra_prompts(ROWS, 40, copies=1, seed=(0,))) == sorted(ROWS)
    with pytest.raises(ValueError, match="got 40 prompts, a batch takes 41"):
        extra_prompts(ROWS, 41, copies=1, seed=(0,))


def test_every_epoch_has_its_own_order_and_without_a_shuffle_the_datas() -> None:
    def order(epoch: int, *, shuffle: bool) -> list[int]:
        sampler = EpochOrder(ROWS, 1, 8, shuffle=shuffle, seed=3)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, shuffle=True) != order(1, shuffle=True)
    assert order(1, shuffle=True) == order(1, shuffle=True)
    assert order(0, shuffle=False) == order(1, shuffle=False) == list(range(40))
