import itertools
import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_mixers
from data_mixers import Draw, Source
from data_mixers.by_tokens import ByTokens

RECIPE = {"reasoning": 1.5, "non_reasoning": 1.0}

counts = st.lists(st.integers(1, 500), min_size=1, max_size=40)
weights = st.floats(0.1, 10)


@st.composite
def source_lists(draw: st.DrawFn) -> list[Source]:
    modes = ["reasoning", "non_reasoning", *draw(st.lists(st.sampled_from(list(RECIPE)), max_size=3))]
    return [Source(f"source {i}", mode, draw(counts), draw(weights)) for i, mode in enumerate(modes)]


def two(reasoning: list[int], non_reasoning: list[int]) -> list[Source]:
    return [Source("long", "reasoning", reasoning), Source("short", "non_reasoning", non_reasoning)]


def walk(sources: list[Source], stream: list[Draw]) -> list[dict[str, int]]:
    """Tokens by mode after every draw."""
    by_name = {source.name: source for source in sources}
    totals, history = dict.fromkeys(RECIPE, 0), []
    for name, row in stream:
        totals[by_name[name].mode] += by_name[name].token_counts[row]
        history.append(dict(totals))
    return history


@pytest.mark.parametrize("on_shortage", ["stop", "repeat"])
@given(sources=source_lists(), seed=st.integers(0, 2**32))
def test_the_ratio_holds_at_every_prefix_to_within_one_row(on_shortage: str, sources: list[Source], seed: int) -> None:
    stream = list(ByTokens(RECIPE, on_shortage)(sources, seed=seed))  # type: ignore[arg-type]
    largest = {mode: max(max(source.token_counts) for source in sources if source.mode == mode) for mode in RECIPE}
    for totals in walk(sources, stream):
        error = abs(totals["reasoning"] - 1.5 * totals["non_reasoning"])
        assert error <= max(largest["reasoning"], 1.5 * largest["non_reasoning"]) + 1e-6


@given(sources=source_lists(), seed=st.integers(0, 2**32))
def test_stop_draws_no_row_twice_and_ends_where_a_source_is_used_up(sources: list[Source], seed: int) -> None:
    stream = list(ByTokens(RECIPE)(sources, seed=seed))
    assert len(set(stream)) == len(stream)
    drawn = Counter(name for name, _ in stream)
    assert any(drawn[source.name] == len(source.token_counts) for source in sources)
    assert all(0 <= row < len(source.token_counts) for source in sources for name, row in stream if name == source.name)


@given(sources=source_lists(), seed=st.integers(0, 2**32))
def test_repeat_covers_every_row_and_no_row_runs_ahead_of_its_source(sources: list[Source], seed: int) -> None:
    times = Counter(ByTokens(RECIPE, "repeat")(sources, seed=seed))
    for source in sources:
        per_row = [times[Draw(source.name, row)] for row in range(len(source.token_counts))]
        assert min(per_row) >= 1
        assert max(per_row) - min(per_row) <= 1


@pytest.mark.parametrize("on_shortage", ["stop", "repeat"])
@given(sources=source_lists(), seed=st.integers(0, 2**32))
def test_the_plan_is_what_the_stream_does(on_shortage: str, sources: list[Source], seed: int) -> None:
    mixer = ByTokens(RECIPE, on_shortage)  # type: ignore[arg-type]
    plan, stream = mixer.plan(sources, seed=seed), list(mixer(sources, seed=seed))
    assert plan.drawn_rows == len(stream)
    assert {mode: plan.tokens_of(mode) for mode in RECIPE} == walk(sources, stream)[-1]
    assert plan.drawn_tokens == sum(walk(sources, stream)[-1].values())
    for source, planned in zip(sources, plan.sources, strict=True):
        rows = [row for name, row in stream if name == source.name]
        missed = set(range(len(source.token_counts))) - set(rows)
        assert planned.drawn_rows == len(rows)
        assert planned.left_over_tokens == sum(source.token_counts[row] for row in missed)
        assert planned.epochs == len(rows) / len(source.token_counts)
    assert sum(source.asked_share for source in plan.sources) == pytest.approx(1)
    assert sum(source.got_share for source in plan.sources) == pytest.approx(1)


def test_the_first_draws_of_a_small_case_done_by_hand() -> None:
    # Tokens / share after each draw: r 20, n 10, n 20, (a tie: the mode listed first) r 40, n 30, n 40, r 60, ...
    stream = ByTokens(RECIPE)(two([30] * 3, [10] * 9), seed=0)
    assert [name for name, _ in stream] == ["long", "short", "short"] * 3


def test_equal_weights_use_up_a_large_and_a_small_source_together() -> None:
    sources = [*two([10] * 300, [10] * 1_000), Source("small", "reasoning", [10] * 30)]
    stream = list(ByTokens(RECIPE)(sources, seed=0))
    assert Counter(name for name, _ in stream) == {"long": 300, "small": 30, "short": 220}
    first_third = Counter(name for name, _ in stream[:183])
    assert (first_third["long"], first_third["small"]) == (100, 10)


def test_weight_two_takes_a_source_twice_as_fast() -> None:
    sources = [*two([10] * 100, [10] * 1_000), Source("favourite", "reasoning", [10] * 100, weight=2.0)]
    drawn = Counter(name for name, _ in ByTokens(RECIPE)(sources, seed=0))
    assert drawn["favourite"] == 100
    assert drawn["long"] in (50, 51)


def test_what_is_left_over_is_told() -> None:
    plan = ByTokens(RECIPE).plan(two([30] * 10, [10] * 100), seed=0)
    long, short = plan.sources
    assert (long.drawn_rows, long.left_over_tokens, long.epochs) == (10, 0, 1.0)
    assert (short.drawn_rows, short.drawn_tokens, short.left_over_tokens) == (20, 200, 800)
    assert (long.asked_share, long.got_share) == pytest.approx((0.6, 0.6))


def test_repeat_goes_through_the_scarce_source_again_in_another_order() -> None:
    stream = list(ByTokens(RECIPE, "repeat")(two([30] * 50, [10] * 1_000), seed=0))
    drawn = [row for name, row in stream if name == "long"]
    assert len(drawn) == 500
    epochs = [drawn[start : start + 50] for start in range(0, 500, 50)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 10


def test_same_seed_same_stream_and_another_seed_another_stream() -> None:
    sources = two([30] * 50, [10] * 100)
    streams = [list(ByTokens(RECIPE)(sources, seed=seed)) for seed in (1, 1, 2)]
    assert streams[0] == streams[1] != streams[2]


def test_the_order_of_rows_is_the_same_for_ever() -> None:
    stream = ByTokens({"reasoning": 1.0})([Source("a", "reasoning", [1] * 8)], seed=0)
    assert [row for _, row in stream] == [4, 0, 6, 3, 5, 1, 2, 7]


def test_resuming_is_skipping() -> None:
    sources, mixer = two([30] * 50, [10] * 100), ByTokens(RECIPE)
    assert list(itertools.islice(mixer(sources, seed=3), 40, None)) == list(mixer(sources, seed=3))[40:]


def test_arrays_and_lists_and_a_pickled_mixer_give_the_same_stream() -> None:
    arrays = [Source(s.name, s.mode, np.asarray(s.token_counts)) for s in two([30] * 50, [10] * 100)]
    mixer = pickle.loads(pickle.dumps(ByTokens(RECIPE)))
    assert list(mixer(arrays, seed=3)) == list(ByTokens(RECIPE)(two([30] * 50, [10] * 100), seed=3))


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([Source("a", "reasoning", [1])], "'non_reasoning' has the share 1.0 but no source"),
        ([*two([1], [1]), Source("b", "fast", [1])], "'b' has mode 'fast'"),
        (two([], [1]), "'long' is empty"),
        (two([5, 0, 7, 0], [1]), "'long' has 2 rows without trained tokens, the first is row 1"),
        ([*two([1], [1]), Source("long", "reasoning", [1])], "same name"),
        ([*two([1], [1]), Source("b", "reasoning", [1], weight=0)], "'b' has weight 0"),
    ],
)
def test_sources_that_do_not_fit_are_refused_before_the_first_draw(sources: list[Source], message: str) -> None:
    for ask in (ByTokens(RECIPE), ByTokens(RECIPE).plan):
        with pytest.raises(ValueError, match=re.escape(message)):
            ask(sources, seed=0)


@pytest.mark.parametrize(
    ("shares", "on_shortage", "message"),
    [
        ({}, "stop", "no shares"),
        ({"reasoning": -1.0}, "stop", "share -1.0"),
        ({"reasoning": 0.0}, "stop", "share 0.0"),
        ({"reasoning": float("nan")}, "stop", "share nan"),
        ({"reasoning": 1.0}, "restart", "'stop' or 'repeat'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(shares: dict[str, float], on_shortage: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ByTokens(shares, on_shortage)  # type: ignore[arg-type]


def test_the_example_of_the_readme_runs() -> None:
    text = Path(data_mixers.__file__).with_name("README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "assert" in code
    exec(compile(code, "README.md", "exec"), {})
