import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.filter.pass_rates import histogram, is_kept, pass_rate, sum_up
from posttrain.recipe import KeepSection

PAPER = KeepSection()
ZERO_VARIANCE = KeepSection(pass_rate_above=0.0)

outcomes = st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=16)
prompts = st.integers(1, 16).flatmap(
    lambda num_samples: st.lists(
        st.lists(st.sampled_from([True, False, None]), min_size=num_samples, max_size=num_samples), min_size=1
    )
)


@pytest.mark.parametrize(
    ("given_outcomes", "expected"),
    [
        ([True, False, False, False], 0.25),
        ([True, None, True, False], 2 / 3),  # what could not be judged is no wrong answer
        ([True, None], 1.0),
        ([False] * 3, 0.0),
        ([None, None], None),
    ],
)
def test_pass_rate_is_the_share_of_right_among_the_judged(
    given_outcomes: list[bool | None], expected: float | None
) -> None:
    assert pass_rate(given_outcomes) == expected


@given(outcomes)
def test_the_paper_drops_a_prompt_exactly_when_all_that_was_judged_is_right(some: list[bool | None]) -> None:
    is_all_correct = True in some and False not in some
    assert is_kept(pass_rate(some), PAPER) == (not is_all_correct)


@given(outcomes)
def test_above_0_drops_a_prompt_exactly_when_its_outcomes_do_not_differ(some: list[bool | None]) -> None:
    is_constant = (True in some) != (False in some)
    assert is_kept(pass_rate(some), ZERO_VARIANCE) == (not is_constant)


@pytest.mark.parametrize(("rate", "expected"), [(0.2, False), (0.21, True), (0.79, True), (0.8, False)])
def test_bounds_are_left_out_themselves(rate: float, expected: bool) -> None:
    assert is_kept(rate, KeepSection(pass_rate_above=0.2, pass_rate_below=0.8)) is expected


@given(above=st.none() | st.floats(0, 0.99), below=st.none() | st.floats(0.01, 1))
def test_prompt_that_nobody_could_judge_is_kept_whatever_the_bounds(above: float | None, below: float | None) -> None:
    assert is_kept(None, KeepSection(pass_rate_above=above, pass_rate_below=below))


def test_without_bounds_everything_is_kept() -> None:
    keep = KeepSection(pass_rate_below=None)
    assert all(is_kept(rate, keep) for rate in (None, 0.0, 0.5, 1.0))


def test_histogram_has_every_bin_and_leaves_out_what_was_not_judged() -> None:
    assert histogram([0.0, 0.25, 0.25, 1.0, None], 4) == {"0/4": 1, "1/4": 2, "2/4": 0, "3/4": 0, "4/4": 1}


@given(prompts)
def test_first_and_last_bin_hold_only_what_is_always_wrong_and_always_right(some: list[list[bool | None]]) -> None:
    num_samples = len(some[0])
    rates = [pass_rate(each) for each in some]
    counts = histogram(rates, num_samples)
    assert len(counts) == num_samples + 1
    assert counts[f"0/{num_samples}"] == sum(rate == 0 for rate in rates)
    assert counts[f"{num_samples}/{num_samples}"] == sum(rate == 1 for rate in rates)
    assert sum(counts.values()) == sum(rate is not None for rate in rates)


def test_summary_by_hand() -> None:
    total = sum_up([0.0, 0.5, 1.0, 1.0, None], PAPER, 2)
    assert (total.prompts, total.kept, total.dropped, total.unscorable) == (5, 3, 2, 1)
    assert total.share_kept == 0.6
    assert total.mean_pass_rate == 0.625  # of the four that could be judged
    assert total.histogram == {"0/2": 1, "1/2": 1, "2/2": 2}
    assert total.histogram_kept == {"0/2": 1, "1/2": 1, "2/2": 0}


def test_summary_of_nothing_that_could_be_judged_has_no_mean() -> None:
    total = sum_up([None, None], PAPER, 8)
    assert (total.kept, total.unscorable, total.mean_pass_rate) == (2, 2, None)
    assert not any(total.histogram.values())


@given(prompts, st.randoms(use_true_random=False))
def test_summary_does_not_depend_on_the_order_and_accounts_for_every_prompt(
    some: list[list[bool | None]], rng: object
) -> None:
    num_samples = len(some[0])
    rates = [pass_rate(each) for each in some]
    total = sum_up(rates, ZERO_VARIANCE, num_samples)
    assert total.kept + total.dropped == total.prompts == len(some)
    assert sum(total.histogram_kept.values()) + total.unscorable == total.kept
    assert total.dropped == total.histogram[f"0/{num_samples}"] + total.histogram[f"{num_samples}/{num_samples}"]
    rng.shuffle(rates)  # type: ignore[attr-defined]
    assert sum_up(rates, ZERO_VARIANCE, num_samples) == total
