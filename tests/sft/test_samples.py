"""How the stream is cut into samples: whole rows, in order, as many as fit."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.data.encode import Encoded
from posttrain.errors import UserError
from posttrain.sft.samples import cut_into_samples


def rows_of(*lengths: int) -> list[Encoded]:
    return [Encoded([7] * length, [-100] * (length - 1) + [7], mode_id=0) for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "pack_tokens", "bounds"),
    [
        ((3, 3, 3), 6, [0, 2, 3]),
        ((3, 3, 3), 5, [0, 1, 2, 3]),
        ((6,), 6, [0, 1]),
        ((1, 5, 2, 4, 1), 6, [0, 2, 4, 5]),
        ((2, 2, 2), 100, [0, 3]),
    ],
)
def test_pack_is_closed_where_the_next_row_would_not_fit(
    lengths: tuple[int, ...], pack_tokens: int, bounds: list[int]
) -> None:
    assert cut_into_samples(rows_of(*lengths), [None], pack_tokens).bounds == bounds


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(9, 30))
def test_every_row_lies_in_one_pack_and_no_pack_is_too_long_or_could_take_the_next_row(
    lengths: list[int], pack_tokens: int
) -> None:
    samples = cut_into_samples(rows_of(*lengths), [None], pack_tokens)
    assert (samples.bounds[0], samples.bounds[-1]) == (0, len(lengths))
    assert len(samples) == len(list(pairwise(samples.bounds)))
    for first, end in pairwise(samples.bounds):
        assert first < end
        assert sum(lengths[first:end]) <= pack_tokens
        assert end == len(lengths) or sum(lengths[first : end + 1]) > pack_tokens


def test_without_packs_every_row_is_a_sample() -> None:
    samples = cut_into_samples(rows_of(3, 30, 1), [None], None)
    assert list(samples.bounds) == [0, 1, 2, 3]
    assert samples.as_dataset("train")[1] == {"split": "train", "first": 1, "end": 2}


def test_row_longer_than_a_pack_is_refused_with_its_place_and_the_cure() -> None:
    rows = rows_of(3, 7, 9)
    rows[1] = rows[1]._replace(mode_id=1, domain="math")
    with pytest.raises(
        UserError, match=r"2 rows .* row 2 .*\(non_reasoning, domain math\): 7 tokens.*data\.max_length"
    ):
        cut_into_samples(rows, [None], 6)


def test_description_says_how_full_the_packs_are() -> None:
    samples = cut_into_samples(rows_of(3, 3, 3), [None], 6)
    assert samples.describe() == "2 of at most 6 tokens (75.0% full, 1.5 rows each)"
