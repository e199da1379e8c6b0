"""A stream of draws in two arrays: 8 bytes a draw, however many tokens the rows have."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from data_mixers.contract import Draw, Source

Indices = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Stream(Sequence[Draw]):
    """What a mixer draws, from the first draw to the last; `stream[n:]` is what is left after `n` draws.

    Attributes:
        sources: The mixer's sources.
        source_ids: Per draw, the index of its source in `sources`.
        rows: Per draw, the row of that source.
        asked_shares: Per source, the share of all drawn tokens that the mixer is asked for; None: it has no such aim.
    """

    sources: tuple[Source, ...]
    source_ids: Indices
    rows: Indices
    asked_shares: tuple[float, ...] | None = None

    @classmethod
    def collect(cls, sources: Sequence[Source], draws: Iterable[Draw]) -> "Stream":
        """The stream of any mixer.

        Raises:
            ValueError: A draw names a source or a row that does not exist.
        """
        if isinstance(draws, Stream):
            return draws
        source_ids = {source.name: index for index, source in enumerate(sources)}
        num_rows = [len(source.token_counts) for source in sources]

        def checked() -> Iterator[tuple[int, int]]:
            for name, row in draws:
                if name not in source_ids:
                    raise ValueError(f"the mixer drew from {name!r}, but the sources are {list(source_ids)}")
                index = source_ids[name]
                if not 0 <= row < num_rows[index]:
                    raise ValueError(f"the mixer drew row {row} of {name!r}, which has rows 0 to {num_rows[index] - 1}")
                yield index, row

        pairs = np.fromiter(checked(), dtype=[("source", np.int32), ("row", np.int32)])
        return cls(tuple(sources), pairs["source"], pairs["row"])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Draw: ...
    @overload
    def __getitem__(self, index: slice) -> "Stream": ...
    def __getitem__(self, index: int | slice) -> "Draw | Stream":
        if isinstance(index, slice):
            return replace(self, source_ids=self.source_ids[index], rows=self.rows[index])
        return Draw(self.sources[self.source_ids[index]].name, int(self.rows[index]))

    def __iter__(self) -> Iterator[Draw]:
        names = [source.name for source in self.sources]
        for source_id, row in zip(self.source_ids, self.rows, strict=True):
            yield Draw(names[source_id], int(row))
