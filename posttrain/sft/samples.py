"""Which rows of the stream make a training sample: one row, or a pack of rows that follow each other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from posttrain.chat import MODES
from posttrain.data.encode import Encoded
from posttrain.errors import UserError


@dataclass(frozen=True)
class Samples:
    """Rows in the order in which they are trained, cut into samples; no row is moved.

    Attributes:
        rows: the stream.
        bounds: the first row of each sample, and the number of rows as the last entry.
        domains: those of the rows, None included where a row has none.
        pack_tokens: the most tokens that a sample may have; None: every row is a sample of its own.
        num_tokens: those of all packs; not counted where there are none.
    """

    rows: Sequence[Encoded]
    bounds: Sequence[int]
    domains: frozenset[str | None]
    pack_tokens: int | None = None
    num_tokens: int = 0

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def as_dataset(self, split: str) -> Dataset:
        """What a trainer counts, shards and skips: where each sample lies. The collator reads the rows."""
        columns = {"split": [split] * len(self), "first": self.bounds[:-1], "end": self.bounds[1:]}
        return Dataset.from_dict(columns)

    def describe(self) -> str:
        """The packs in one line; only where there are some."""
        assert self.pack_tokens is not None
        fill = self.num_tokens / (len(self) * self.pack_tokens)
        rows_per_pack = len(self.rows) / len(self)
        return f"{len(self):,} of at most {self.pack_tokens:,} tokens ({fill:.1%} full, {rows_per_pack:.1f} rows each)"


def cut_into_samples(
    rows: Sequence[Encoded],
    lengths: npt.NDArray[np.integer[Any]],
    domains: Iterable[str | None],
    pack_tokens: int | None,
) -> Samples:
    """Close a pack where the next row would not fit into it; without `pack_tokens` after every row.

    Args:
        rows: the stream; no row of it is read.
        lengths: tokens of each row.
        domains: of all rows.
        pack_tokens: the most tokens of a pack; None: every row is a sample of its own.

    Raises:
        UserError: a row is longer than a pack may be.
    """
    if pack_tokens is None:
        return Samples(rows, range(len(rows) + 1), frozenset(domains))
    too_long = np.flatnonzero(lengths > pack_tokens)
    if len(too_long):
        raise UserError(_too_long(rows, too_long.tolist(), pack_tokens))
    ends = np.cumsum(lengths, dtype=np.int64)  # of each row, in tokens from the start of the stream
    bounds = [0]
    while bounds[-1] < len(rows):
        before = ends[bounds[-1] - 1] if bounds[-1] else 0
        bounds.append(int(np.searchsorted(ends, before + pack_tokens, side="right")))
    return Samples(rows, bounds, frozenset(domains), pack_tokens, num_tokens=int(lengths.sum(dtype=np.int64)))


def _too_long(rows: Sequence[Encoded], indices: list[int], pack_tokens: int) -> str:
    first = rows[indices[0]]
    domain = "" if first.domain is None else f", domain {first.domain}"
    return (
        f"{len(indices):,} of {len(rows):,} rows are longer than a pack may be, the first of them is row "
        f"{indices[0] + 1:,} in the order of training ({MODES[first.mode_id]}{domain}): {len(first.input_ids):,} "
        f"tokens, data.pack_tokens is {pack_tokens:,}; no row is cut, so raise data.pack_tokens, or set "
        "data.max_length to at most that: longer rows are then set aside"
    )
