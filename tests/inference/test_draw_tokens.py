import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.inference.transformers_engine import draw_tokens
from posttrain.recipe import Decoding

PROBS = [0.1, 0.4, 0.05, 0.3, 0.15]  # descending: tokens 1, 3, 4, 0, 2


def drawn(probs: list[float], uniform: list[float], **settings: float) -> list[int]:
    """One token for each number, all from the same distribution."""
    logits_BV = torch.tensor([probs]).log().expand(len(uniform), -1)
    decoding = Decoding(**({"temperature": 1.0, "max_new_tokens": 1} | settings))
    return draw_tokens(logits_BV, decoding, torch.tensor(uniform)).tolist()


def shares(probs: list[float], **settings: float) -> dict[int, float]:
    """The share of each token over 1000 evenly spaced numbers."""
    counts = Counter(drawn(probs, [(index + 0.5) / 1000 for index in range(1000)], **settings))
    return {token: round(count / 1000, 2) for token, count in sorted(counts.items())}


def test_number_picks_the_token_in_whose_part_of_the_unit_interval_it_lies() -> None:
    # Parts: 0 to .1 to .5 to .55 to .85 to 1.
    assert drawn(PROBS, [0.0, 0.09, 0.11, 0.49, 0.52, 0.84, 0.86, 0.9999]) == [0, 0, 1, 1, 2, 3, 4, 4]


def test_temperature_1_draws_every_token_as_often_as_it_is_probable() -> None:
    assert shares(PROBS) == {0: 0.1, 1: 0.4, 2: 0.05, 3: 0.3, 4: 0.15}


def test_temperature_half_squares_the_odds() -> None:
    # .8 and .2 become .64 and .04, which is 16 : 1.
    assert shares([0.8, 0.2], temperature=0.5) == {0: round(16 / 17, 2), 1: round(1 / 17, 2)}


def test_top_k_keeps_the_k_most_probable() -> None:
    assert shares(PROBS, top_k=2) == {1: round(4 / 7, 2), 3: round(3 / 7, 2)}


def test_top_k_above_the_vocabulary_keeps_all() -> None:
    assert shares(PROBS, top_k=50) == shares(PROBS)


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    # .4 + .3 = .7 is short of .75; with .15 it is reached.
    assert shares(PROBS, top_p=0.75) == {1: round(40 / 85, 2), 3: round(30 / 85, 2), 4: round(15 / 85, 2)}


def test_top_p_counts_the_shares_that_top_k_left() -> None:
    # Of the top three (.4, .3, .15) the first two are 82 %: enough for .8, though they are 70 % of all.
    assert shares(PROBS, top_k=3, top_p=0.8) == {1: round(4 / 7, 2), 3: round(3 / 7, 2)}


def test_tiny_top_p_still_leaves_the_most_probable_token() -> None:
    assert shares(PROBS, top_p=1e-6) == {1: 1.0}


@pytest.mark.parametrize("settings", [{}, {"top_k": 3}, {"top_p": 0.9}])
def test_largest_number_below_1_never_draws_an_impossible_token(settings: dict[str, float]) -> None:
    below_1 = torch.tensor(1.0).nextafter(torch.tensor(0.0)).item()
    assert drawn([0.0, 0.7, 0.3, 0.0], [0.0, below_1], **settings) == [1, 2]


def test_tiny_temperature_is_greedy_and_finite() -> None:
    assert shares(PROBS, temperature=1e-6) == {1: 1.0}


@settings(deadline=None)
@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=30),
    uniform=st.floats(0, 1, exclude_max=True, width=32),
    temperature=st.floats(0.05, 3),
    top_k=st.integers(0, 5),
    top_p=st.floats(0.01, 1),
)
def test_drawn_token_is_never_one_that_the_filters_exclude(
    logits: list[float], uniform: float, temperature: float, top_k: int, top_p: float
) -> None:
    decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p, max_new_tokens=1)
    token = int(draw_tokens(torch.tensor([logits]), decoding, torch.tensor([uniform])))
    weights = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    # Float32 calls a tie what differs by less.
    above = sorted((weight for weight in weights if weight > weights[token] * (1 + 1e-5)), reverse=True)
    if top_k:
        assert len(above) < top_k
    kept = sum(sorted(weights, reverse=True)[: top_k or len(weights)])
    assert sum(above) < top_p * kept * (1 + 1e-4) + 1e-6
