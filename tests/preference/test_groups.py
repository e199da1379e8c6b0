from hypothesis import given
from hypothesis import strategies as st

from posttrain.preference.groups import split_by_tokens

cuts = st.lists(st.integers(1, 500), min_size=1, max_size=40).flatmap(
    lambda lengths: st.tuples(st.just(lengths), st.integers(1, len(lengths)))
)


@given(cuts)
def test_every_group_is_in_one_micro_batch_and_none_is_empty(cut):
    lengths, parts = cut
    split = split_by_tokens(lengths, parts)
    assert len(split) == parts
    assert all(split)
    assert sorted(index for part in split for index in part) == list(range(len(lengths)))


@given(cuts)
def test_no_micro_batch_is_larger_than_its_share_and_one_group(cut):
    lengths, parts = cut
    largest = max(sum(lengths[index] for index in part) for part in split_by_tokens(lengths, parts))
    assert largest <= sum(lengths) / parts + max(lengths)


def test_the_long_ones_are_spread_out():
    split = split_by_tokens([100, 100, 1, 1, 1, 1], 2)
    assert sorted(sorted(part) for part in split) == [[0, 2, 4], [1, 3, 5]]


def test_a_long_one_stands_alone_beside_several_short_ones():
    split = split_by_tokens([4, 10, 1, 5], 2)
    assert sorted(sorted(part) for part in split) == [[0, 2, 3], [1]]
