"""A stream is a sequence of draws, and what it draws is counted exactly."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_mixers import Draw, Source, Stream, plan_of
from data_mixers.by_tokens import ByTokens
from data_mixers.plan import summed

SOURCES = [Source("a", "reasoning", [5, 7]), Source("b", "non_reasoning", np.array([1, 2, 4]), domain="chat")]
DRAWS = [Draw("b", 2), Draw("a", 0), Draw("b", 2), Draw("b", 1), Draw("a", 1)]


# --- the sequence ---


def test_draws_of_any_mixer_become_a_stream_of_the_same_draws() -> None:
    stream = Stream.collect(SOURCES, iter(DRAWS))
    assert list(stream) == DRAWS
    assert len(stream) == 5
    assert (stream[0], stream[-1]) == (DRAWS[0], DRAWS[-1])
    assert list(stream[2:]) == DRAWS[2:]
    assert Stream.collect(SOURCES, stream) is stream


def test_stream_takes_eight_bytes_a_draw() -> None:
    stream = Stream.collect(SOURCES, DRAWS * 100)
    assert stream.source_ids.itemsize + stream.rows.itemsize == 8
    by_tokens = ByTokens({"reasoning": 1, "non_reasoning": 1})(SOURCES, seed=0)
    assert by_tokens.source_ids.dtype == by_tokens.rows.dtype == np.int32


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (Draw("c", 0), "drew from 'c', but the sources are ['a', 'b']"),
        (Draw("a", 2), "drew row 2 of 'a', which has rows 0 to 1"),
        (Draw("a", -1), "drew row -1 of 'a'"),
    ],
)
def test_draw_of_what_does_not_exist_is_refused(draw: Draw, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Stream.collect(SOURCES, [DRAWS[0], draw])


# --- what it takes ---


def test_usage_of_each_source_done_by_hand() -> None:
    a, b = plan_of(Stream.collect(SOURCES, DRAWS)).sources
    assert (a.name, a.mode, a.domain) == ("a", "reasoning", None)
    assert (a.rows, a.tokens, a.drawn_rows, a.drawn_tokens, a.epochs) == (2, 12, 2, 12, 1.0)
    assert (a.repeated_tokens, a.left_over_tokens, a.asked_share) == (0, 0, None)
    assert (b.rows, b.tokens, b.drawn_rows, b.drawn_tokens, b.epochs) == (3, 7, 3, 10, 1.0)
    assert (b.repeated_tokens, b.left_over_tokens, b.domain) == (4, 1, "chat")
    assert (a.got_share, b.got_share) == pytest.approx((12 / 22, 10 / 22))


def test_usages_add_up() -> None:
    plan = plan_of(Stream.collect(SOURCES, DRAWS))
    total = plan.total()
    assert (total.rows, total.tokens, total.drawn_rows, total.drawn_tokens) == (5, 19, 5, 22)
    assert (total.repeated_tokens, total.left_over_tokens, total.asked_share, total.got_share) == (4, 1, None, 1.0)
    assert plan.total("reasoning") == summed(plan.sources[:1])


def test_plan_of_no_draws_leaves_everything_over() -> None:
    total = plan_of(Stream.collect(SOURCES, [])).total()
    assert (total.drawn_tokens, total.left_over_tokens, total.got_share, total.epochs) == (0, 19, 0.0, 0.0)


def test_asked_shares_are_those_of_the_mixer() -> None:
    plan = plan_of(ByTokens({"reasoning": 3, "non_reasoning": 1})(SOURCES, seed=0))
    assert [source.asked_share for source in plan.sources] == [0.75, 0.25]
    assert plan.total().asked_share == 1.0


@given(draws=st.lists(st.sampled_from([Draw("a", 0), Draw("a", 1), Draw("b", 0), Draw("b", 1), Draw("b", 2)])))
def test_drawn_tokens_are_those_there_are_less_the_left_over_and_more_the_repeated(draws: list[Draw]) -> None:
    counts = {source.name: source.token_counts for source in SOURCES}
    plan = plan_of(Stream.collect(SOURCES, draws))
    assert plan.total().drawn_tokens == sum(counts[name][row] for name, row in draws)
    for source in plan.sources:
        assert source.drawn_tokens == source.tokens - source.left_over_tokens + source.repeated_tokens
