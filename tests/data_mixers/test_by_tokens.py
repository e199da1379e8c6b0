"""`ByTokens` against its definition, one draw at a time, and the properties that users count on."""

import itertools
import pickle
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_mixers import Draw, Source, plan_of
from data_mixers.by_tokens import ByTokens, _shuffled

RECIPE = {"reasoning": 1.5, "non_reasoning": 1.0}
MODES = list(RECIPE)

few_rows = st.lists(st.integers(1, 60), min_size=1, max_size=12)
equal_rows = st.lists(st.just(10), min_size=1, max_size=12)  # ties
shares = st.one_of(st.sampled_from([1, 2, 0.5, 1.5]), st.floats(0.4, 3))


@st.composite
def mixes(draw: st.DrawFn) -> tuple[dict[str, Any], list[Source]]:
    """Shares of the two modes, of up to three domains in each, and sources of every group, in any order."""
    tree: dict[str, Any] = {}
    sources: list[Source] = []
    for mode in MODES:
        domains = draw(st.lists(st.sampled_from(["math", "code", "tool"]), unique=True))
        tree[mode] = {"share": draw(shares), "domains": {each: draw(shares) for each in domains}}
        tree[mode] = tree[mode] if domains else tree[mode]["share"]
        for domain in [*domains, *draw(st.lists(st.sampled_from(domains or ["math", None]), max_size=2))] or [None]:
            counts = draw(st.one_of(few_rows, equal_rows))
            sources.append(Source(f"source {len(sources)}", mode, counts, draw(shares), domain))
    return tree, draw(st.permutations(sources))


mixers = st.one_of(
    st.just({"on_shortage": "stop"}),
    st.just({"on_shortage": "repeat"}),
    st.floats(1, 5).map(lambda epochs: {"on_shortage": "repeat", "max_epochs": epochs}),
)
seeds = st.integers(0, 2**32)
unhurried = settings(deadline=None, max_examples=60)  # the slow reference is slow


def two(reasoning: list[int], non_reasoning: list[int]) -> list[Source]:
    return [Source("long", "reasoning", reasoning), Source("short", "non_reasoning", non_reasoning)]


# --- the definition ---


@dataclass
class Group:
    """A mode, a domain or, without children, a source: what it has drawn, and whose turn it is."""

    share: float
    children: list["Group"] = field(default_factory=list)
    source: Source | None = None
    rows: Iterator[int] = field(default_factory=lambda: iter(()))
    next_row: int | None = None
    drawn: int = 0

    def turn(self) -> "Group":
        """The source that is next: in every group, of the child whose next row has the earliest middle."""
        if not self.children:
            return self
        turns = [(child, child.turn()) for child in self.children]
        return min(turns, key=lambda turn: (turn[0].drawn + turn[1].tokens() / 2) / turn[0].share)[1]

    def tokens(self) -> int:
        """Tokens of a source's next row; 0 when it has none left."""
        return 0 if self.next_row is None else int(self.source.token_counts[self.next_row])  # type: ignore[union-attr]

    def draw(self, leaf: "Group") -> bool:
        """Count the next row of `leaf`, which may be in here."""
        is_here = self is leaf or any(child.draw(leaf) for child in self.children)
        self.drawn += leaf.tokens() if is_here else 0
        return is_here


def slow_stream(mixer: ByTokens, sources: list[Source], seed: int) -> list[Draw]:
    """One draw at a time, every clock compared for each."""

    def rows(source: Source) -> Iterator[int]:
        num_rows = len(source.token_counts)
        cap = None if mixer.on_shortage == "repeat" else num_rows
        if mixer.max_epochs is not None:
            cap = int(mixer.max_epochs * num_rows)
        passes = (_shuffled(num_rows, source.name, seed, epoch=epoch).tolist() for epoch in itertools.count())
        return itertools.islice(itertools.chain.from_iterable(passes), cap)

    def group(share: float, members: list[Source]) -> Group:
        pulls = [(source, source.weight * sum(source.token_counts)) for source in members]
        return Group(share, [Group(pull, source=source, rows=rows(source)) for source, pull in pulls])

    modes = []
    for mode, share in mixer.shares.items():
        members = [source for source in sources if source.mode == mode]
        if isinstance(share, dict):
            parts = share["domains"].items()
            domains = [group(part, [each for each in members if each.domain == domain]) for domain, part in parts]
            modes.append(Group(share["share"], domains))
        else:
            modes.append(group(share, members))
    root = Group(1.0, modes)
    leaves = [leaf for mode in modes for child in mode.children for leaf in child.children or [child]]
    for leaf in leaves:
        leaf.next_row = next(leaf.rows)
    unseen, drawn = {source.name: len(source.token_counts) for source in sources}, []
    while any(count > 0 for count in unseen.values()):
        leaf = root.turn()
        if leaf.next_row is None:
            break
        drawn.append(Draw(leaf.source.name, leaf.next_row))  # type: ignore[union-attr]
        root.draw(leaf)
        unseen[drawn[-1].source] -= 1
        leaf.next_row = next(leaf.rows, None)
    return drawn


@unhurried
@given(mix=mixes(), options=mixers, seed=seeds)
def test_the_sorted_stream_is_the_one_drawn_row_by_row(mix: Any, options: dict[str, Any], seed: int) -> None:
    mixer = ByTokens(mix[0], **options)
    assert list(mixer(mix[1], seed=seed)) == slow_stream(mixer, mix[1], seed)


# --- the ratios ---


def clocks(members: list[list[Source]], sources: list[Source], stream: Any) -> list[Any]:
    """For each list of sources, its tokens before the first draw and after every draw."""
    by_name = {source.name: source for source in sources}
    tokens = np.array([by_name[name].token_counts[row] for name, row in stream])
    names = np.array([name for name, _ in stream])
    drawn = [np.where(np.isin(names, [source.name for source in group]), tokens, 0) for group in members]
    return [np.concatenate([[0], np.cumsum(each)]) for each in drawn]


def assert_kept(shares: list[float], members: list[list[Source]], sources: list[Source], stream: Any) -> None:
    """Two groups' tokens, divided by their shares, are never further apart than half a row of each."""
    largest = [max(max(source.token_counts) for source in group) for group in members]
    kept = [tokens / share for tokens, share in zip(clocks(members, sources, stream), shares, strict=True)]
    for a, b in itertools.combinations(range(len(members)), 2):
        bound = (largest[a] / shares[a] + largest[b] / shares[b]) / 2
        assert np.abs(kept[a] - kept[b]).max() <= bound * (1 + 1e-9)


@unhurried
@given(mix=mixes(), options=mixers, seed=seeds)
def test_every_node_keeps_its_shares_at_every_point_to_half_a_row_of_each_child(
    mix: Any, options: dict[str, Any], seed: int
) -> None:
    tree, sources = mix
    stream = ByTokens(tree, **options)(sources, seed=seed)
    of_mode = {mode: [source for source in sources if source.mode == mode] for mode in tree}
    groups = []
    for mode, share in tree.items():
        if isinstance(share, dict):
            domains = {name: [each for each in of_mode[mode] if each.domain == name] for name in share["domains"]}
            assert_kept(list(share["domains"].values()), list(domains.values()), sources, stream)
            groups += domains.values()
        else:
            groups.append(of_mode[mode])
    assert_kept([s["share"] if isinstance(s, dict) else s for s in tree.values()], [*of_mode.values()], sources, stream)
    for group in groups:
        pulls = [source.weight * sum(source.token_counts) for source in group]
        assert_kept(pulls, [[source] for source in group], sources, stream)


@given(reasoning=few_rows, direct=few_rows, share=shares, seed=seeds)
def test_no_draw_from_the_other_mode_would_be_closer_to_the_ratio(
    reasoning: list[int], direct: list[int], share: float, seed: int
) -> None:
    sources = two(reasoning, direct)
    stream = list(ByTokens({"reasoning": share, "non_reasoning": 1.0})(sources, seed=seed))
    left = {
        source.name: [source.token_counts[row] for name, row in stream if name == source.name] for source in sources
    }
    ahead = 0.0  # the clock of reasoning less that of direct answers
    for name, _ in stream:
        after = {"long": ahead + left["long"][0] / share if left["long"] else None}
        after["short"] = ahead - left["short"][0] if left["short"] else None
        taken, other = after[name], after["short" if name == "long" else "long"]
        assert taken is not None
        assert other is None or abs(taken) <= abs(other) * (1 + 1e-9)
        left[name].pop(0)
        ahead = taken


def test_over_any_hundredth_of_a_long_run_the_ratio_is_within_half_a_percent() -> None:
    """650 million tokens: traces of up to 16,384 tokens, answers of up to 2,048, both with a long tail."""
    rng = np.random.default_rng(0)

    def lengths(num_rows: int, median: int, longest: int) -> Any:
        return np.clip(rng.lognormal(np.log(median), 0.8, num_rows), 1, longest).astype(np.int32)

    sources = [
        *(Source(name, "reasoning", lengths(80_000, 1_500, 16_384), domain=name) for name in ("math", "code", "tool")),
        *(Source(name, "non_reasoning", lengths(320_000, 200, 2_048)) for name in ("chat", "knowledge", "languages")),
    ]
    tree = {"reasoning": {"share": 1.5, "domains": {"math": 1, "code": 1, "tool": 1}}, "non_reasoning": 1.0}
    stream = ByTokens(tree, "repeat", max_epochs=2)(sources, seed=0)
    counts = np.concatenate([source.token_counts for source in sources])
    firsts = np.cumsum([0, *(len(source.token_counts) for source in sources)])
    tokens = counts[firsts[stream.source_ids] + stream.rows].astype(np.int64)
    so_far = np.cumsum(tokens)
    reasoning = np.cumsum(tokens * (stream.source_ids < 3))
    assert so_far[-1] > 650e6
    window = so_far[-1] // 100
    ends = np.flatnonzero(so_far >= window + tokens[0])
    starts = np.searchsorted(so_far, so_far[ends] - window, side="right") - 1
    of_reasoning, of_all = reasoning[ends] - reasoning[starts], so_far[ends] - so_far[starts]
    ratios = of_reasoning / (of_all - of_reasoning)
    assert len(ratios) > 500_000
    assert np.abs(ratios / 1.5 - 1).max() < 0.005


# --- what is drawn ---


@given(mix=mixes(), seed=seeds)
def test_stop_draws_no_row_twice_and_ends_where_a_source_is_used_up(mix: Any, seed: int) -> None:
    stream = list(ByTokens(mix[0])(mix[1], seed=seed))
    assert len(set(stream)) == len(stream)
    drawn = Counter(name for name, _ in stream)
    assert any(drawn[source.name] == len(source.token_counts) for source in mix[1])


@unhurried
@given(mix=mixes(), seed=seeds)
def test_repeat_covers_every_row_and_no_row_runs_ahead_of_its_source(mix: Any, seed: int) -> None:
    times = Counter(ByTokens(mix[0], "repeat")(mix[1], seed=seed))
    for source in mix[1]:
        per_row = [times[Draw(source.name, row)] for row in range(len(source.token_counts))]
        assert min(per_row) >= 1
        assert max(per_row) - min(per_row) <= 1


@unhurried
@given(mix=mixes(), epochs=st.floats(1, 4), seed=seeds)
def test_at_the_cap_on_epochs_repeat_ends_the_stream_and_error_refuses(mix: Any, epochs: float, seed: int) -> None:
    plan = plan_of(ByTokens(mix[0], "repeat", epochs)(mix[1], seed=seed))
    assert all(source.drawn_rows <= epochs * source.rows for source in plan.sources)
    at_cap = [source for source in plan.sources if source.drawn_rows == int(epochs * source.rows)]
    if any(source.left_over_tokens for source in plan.sources):
        assert at_cap
        with pytest.raises(ValueError, match="is used up after"):
            ByTokens(mix[0], "error", epochs)(mix[1], seed=seed)
    else:
        assert plan_of(ByTokens(mix[0], "error", epochs)(mix[1], seed=seed)) == plan


def test_cap_on_epochs_done_by_hand() -> None:
    sources = two([30] * 10, [10] * 100)  # 300 tokens of 1,500 that the direct answers would need
    drawn = Counter(name for name, _ in ByTokens(RECIPE, "repeat", 2.5)(sources, seed=0))
    assert drawn == {"long": 25, "short": 50}
    everything = Counter(name for name, _ in ByTokens(RECIPE, "repeat", 5)(sources, seed=0))
    assert everything == {"long": 50, "short": 100}


def test_one_short_row_beside_many_long_ones_makes_no_endless_stream() -> None:
    tiny, rows = Source("tiny", "reasoning", [1]), np.full(200_000, 1_000)
    sources = [tiny, Source("large", "reasoning", rows), Source("direct", "non_reasoning", rows)]
    plan = plan_of(ByTokens(RECIPE, "repeat")(sources, seed=0))
    assert [source.drawn_rows for source in plan.sources] == pytest.approx([1, 300_000, 200_000], abs=1)


def test_repeating_without_end_is_refused_with_the_source_that_would_be() -> None:
    sources = [*two([1], [1]), Source("large", "non_reasoning", np.full(3_000_000, 1_000))]
    with pytest.raises(ValueError, match=r"about 4,\d+,\d+,\d+ draws, 4,\d+,\d+,\d+ of them from source 'long': set"):
        ByTokens(RECIPE, "repeat")(sources, seed=0)


def test_error_says_what_is_scarce_and_what_would_be_left_over() -> None:
    with pytest.raises(
        ValueError,
        match=re.escape(
            "source 'long' is used up after 1 epochs and 300 tokens; 800 tokens of 'short' were never drawn: add rows, "
            "lower its share or weight, raise max_epochs (now 1), or set on_shortage to 'stop' or 'repeat'"
        ),
    ):
        ByTokens(RECIPE, "error")(two([30] * 10, [10] * 100), seed=0)


def test_error_takes_data_that_fits_its_shares() -> None:
    assert len(ByTokens(RECIPE, "error")(two([30] * 10, [10] * 20), seed=0)) == 30


def test_domains_share_the_tokens_of_their_mode_and_sources_those_of_their_domain() -> None:
    tree = {"reasoning": {"share": 1.5, "domains": {"math": 2, "code": 1}}, "non_reasoning": 1.0}
    sources = [
        Source("proofs", "reasoning", [10] * 900, domain="math"),
        Source("sums", "reasoning", [10] * 300, domain="math", weight=3),
        Source("patches", "reasoning", [10] * 1_000, domain="code"),
        Source("chat", "non_reasoning", [10] * 5_000),
        Source("answers", "non_reasoning", [10] * 5_000, domain="math"),
    ]
    plan = plan_of(ByTokens(tree)(sources, seed=0))
    # The 300 sums are used up first: as many proofs, half as many patches as both, and 900 rows are 1.5 of 2.5 parts.
    assert [source.drawn_rows for source in plan.sources] == [300, 300, 300, 300, 300]
    assert [source.asked_share for source in plan.sources] == pytest.approx([0.2] * 5)
    assert [source.got_share for source in plan.sources] == pytest.approx([0.2] * 5)


def test_the_first_draws_of_a_small_case_done_by_hand() -> None:
    # The middles of the rows, in tokens / share: long 10, 30, 50; short 5, 15, 25, ...
    stream = ByTokens(RECIPE)(two([30] * 3, [10] * 9), seed=0)
    assert [name for name, _ in stream] == ["short", "long", "short"] * 3


def test_of_equal_middles_the_mode_listed_first_comes_first() -> None:
    sources = two([30] * 2, [20] * 2)
    assert [name for name, _ in ByTokens(RECIPE)(sources, seed=0)] == ["long", "short"] * 2
    other = ByTokens({"non_reasoning": 1.0, "reasoning": 1.5})
    assert [name for name, _ in other(sources, seed=0)] == ["short", "long"] * 2


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


DOMAINS = {"reasoning": {"share": 1.5, "domains": {"math": 2, "code": 1}}, "non_reasoning": 1.0}


@pytest.mark.parametrize(
    ("shares", "sources", "message"),
    [
        (RECIPE, two([1], [1])[:1], "share their tokens by mode, and 'non_reasoning' has the share 1.0 but no source"),
        (
            RECIPE,
            [*two([1], [1]), Source("b", "fast", [1] * 7)],
            "7 rows belong to no share (7 of 'b' have mode 'fast')",
        ),
        (RECIPE, two([], [1]), "'long' is empty"),
        (RECIPE, two([5, 0, 7, 0], [1]), "'long' has 2 rows without trained tokens, the first is row 1"),
        (RECIPE, [*two([1], [1]), Source("long", "reasoning", [1])], "same name"),
        (RECIPE, [*two([1], [1]), Source("b", "reasoning", [1], weight=0)], "'b' has weight 0"),
        (
            DOMAINS,
            [*two([1] * 1_200, [1]), Source("b", "reasoning", [1] * 3, domain="law")],
            "mode 'reasoning' shares its tokens by domain, and 1,203 rows belong to no share (1,200 of 'long' have no "
            "domain, 3 of 'b' have domain 'law'); the shares are for ['math', 'code']: add a share",
        ),
        (
            DOMAINS,
            [Source("a", "reasoning", [1], domain="math"), Source("b", "non_reasoning", [1], domain="code")],
            "mode 'reasoning' shares its tokens by domain, and 'code' has the share 1 but no source",
        ),
    ],
)
def test_sources_that_do_not_fit_are_refused_before_the_first_draw(
    shares: dict[str, Any], sources: list[Source], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ByTokens(shares)(sources, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": {}}, "no shares"),
        ({"shares": {"reasoning": -1.0}}, "the share -1.0 for mode 'reasoning'"),
        ({"shares": {"reasoning": 0.0}}, "share 0.0"),
        ({"shares": {"reasoning": float("nan")}}, "share nan"),
        ({"shares": {"reasoning": "half"}}, "share 'half'"),
        ({"shares": {"reasoning": True}}, "share True"),
        ({"shares": {"reasoning": {"share": 1, "domain": {}}}}, "the keys ['share', 'domain'] for mode 'reasoning'"),
        ({"shares": {"reasoning": {"share": 1, "domains": {}}}}, "the domains {} for mode 'reasoning'"),
        ({"shares": {"reasoning": {"share": 1, "domains": {"math": 0}}}}, "0 for domain 'math' of mode 'reasoning'"),
        ({"shares": RECIPE, "on_shortage": "restart"}, "'stop', 'repeat' or 'error'"),
        ({"shares": RECIPE, "max_epochs": 2}, "max_epochs=2 with on_shortage='stop', which draws no row twice"),
        (
            {"shares": RECIPE, "on_shortage": "repeat", "max_epochs": 0.5},
            "max_epochs=0.5: it is a number of at least 1",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ByTokens(**options)
