"""How the stream is cut into samples: whole rows, in order, as many as fit."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.data.encode import Encoded
from posttrain.errors import UserError
from posttrain.sft.collator import Collator
from posttrain.sft.groups import Groups
from posttrain.sft.samples import Samples, cut_into_samples


def rows_of(*lengths: int) -> list[Encoded]:
    return [Encoded([7] * length, [-100] * (length - 1) + [7], mode_id=0) for length in lengths]


def cut(rows: Sequence[Encoded], domains: Iterable[str | None], pack_tokens: int | None) -> Samples:
    return cut_into_samples(rows, np.array([len(row.input_ids) for row in rows]), domains, pack_tokens)


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
    assert cut(rows_of(*lengths), [None], pack_tokens).bounds == bounds


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(9, 30))
def test_every_row_lies_in_one_pack_and_no_pack_is_too_long_or_could_take_the_next_row(
    lengths: list[int], pack_tokens: int
) -> None:
    samples = cut(rows_of(*lengths), [None], pack_tokens)
    assert (samples.bounds[0], samples.bounds[-1]) == (0, len(lengths))
    assert len(samples) == len(list(pairwise(samples.bounds)))
    for first, end in pairwise(samples.bounds):
        assert first < end
        assert sum(lengths[first:end]) <= pack_tokens
        assert end == len(lengths) or sum(lengths[first : end + 1]) > pack_tokens


def test_without_packs_every_row_is_a_sample() -> None:
    samples = cut(rows_of(3, 30, 1), [None], None)
    assert list(samples.bounds) == [0, 1, 2, 3]
    assert samples.as_dataset("train")[1] == {"split": "train", "first": 1, "end": 2}


def test_row_longer_than_a_pack_is_refused_with_its_place_and_the_cure() -> None:
    rows = rows_of(3, 7, 9)
    rows[1] = rows[1]._replace(mode_id=1, domain="math")
    with pytest.raises(
        UserError, match=r"2 of 3 rows .* row 2 .*\(non_reasoning, domain math\): 7 tokens.*data\.max_length"
    ):
        cut(rows, [None], 6)


def test_description_says_how_full_the_packs_are() -> None:
    samples = cut(rows_of(3, 3, 3), [None], 6)
    assert samples.describe() == "2 of at most 6 tokens (75.0% full, 1.5 rows each)"


def test_row_is_read_when_its_turn_comes() -> None:
    class Watched(list[Encoded]):
        def __getitem__(self, index: Any) -> Any:
            read.append(index)
            return super().__getitem__(index)

    read: list[int] = []
    rows = Watched(rows_of(2, 3, 3))
    samples = cut_into_samples(rows, np.array([2, 3, 3]), [None], 6)
    collator = Collator({"train": rows}, Groups([None]), pad_token_id=0, is_packed=True)
    second_pack = samples.as_dataset("train")[1]
    assert read == []
    assert collator([second_pack])["input_ids"].shape == (1, 3)
    assert read == [2]
