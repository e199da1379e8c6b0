"""Encoded rows in an Arrow file: read where they lie, so that memory does not grow with the text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from posttrain.chat import MODES
from posttrain.data.encode import IGNORED, Encoded
from posttrain.errors import UserError

Places = npt.NDArray[np.int64]

# A record of a source each, in its order. One that cannot be used has a reason and no tokens.
SCHEMA = pa.schema(
    {
        "input_ids": pa.list_(pa.int32()),
        "trained_spans": pa.list_(pa.int32()),  # start and end, in turn, of each stretch that bears loss
        "mode_id": pa.int8(),
        "domain": pa.string(),
        "weight": pa.float64(),
        "num_tokens": pa.int32(),
        "trained_tokens": pa.int32(),
        "digest": pa.binary(16),  # of the tokens and which of them are trained
        "is_mode_inferred": pa.bool_(),
        "converted": pa.list_(pa.string()),
        "reason": pa.string(),
        "detail": pa.string(),
        "file": pa.int32(),  # place in the source's `file_names`: a folder may be moved
        "line": pa.int64(),
    }
)


class EncodedFile:
    """The records of one source, mapped into memory; pickled, it is its path.

    Raises:
        UserError: the file is not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as error:
            raise UserError(f"the cached encoding '{path}' cannot be read ({error}); delete it") from error
        ids, spans = (self.table.column(name).chunks for name in ("input_ids", "trained_spans"))
        self._chunks = list(zip(ids, spans, self.table.column("mode_id").chunks, strict=True))
        self._ends = np.cumsum([len(chunk) for chunk in ids])
        self._domains = self.table.column("domain").chunks

    def __reduce__(self) -> Any:
        return EncodedFile, (self.path,)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers, 0 for a record that cannot be used."""
        return np.asarray(self.table.column(name))

    def digests(self) -> npt.NDArray[np.uint64]:
        """The digest of each record, as two numbers."""
        chunks = self.table.column("digest").chunks
        return np.concatenate(
            [np.frombuffer(chunk.buffers()[1], np.uint64, 2 * len(chunk)).reshape(-1, 2) for chunk in chunks]
        )

    def row(self, place: int) -> Encoded:
        """The row in one place; it can be used."""
        which = int(np.searchsorted(self._ends, place, side="right"))
        ids, spans, modes = self._chunks[which]
        at = place - int(self._ends[which]) + len(ids)
        input_ids = ids[at].values.to_numpy().tolist()
        labels = [IGNORED] * len(input_ids)
        edges = spans[at].values.to_numpy().tolist()
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            labels[start:end] = input_ids[start:end]
        return Encoded(input_ids, labels, modes[at].as_py(), self._domains[which][at].as_py())


class EncodedRows(Sequence[Encoded]):
    """Rows of one file, in any order; each is read when it is asked for.

    Attributes:
        file: where they are.
        places: for each row, its place in the file.
    """

    def __init__(self, file: EncodedFile, places: Places) -> None:
        self.file = file
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> "EncodedRows": ...
    def __getitem__(self, index: int | slice) -> "Encoded | EncodedRows":
        if isinstance(index, slice):
            return EncodedRows(self.file, self.places[index])
        return self.file.row(int(self.places[index]))

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers (`num_tokens`, `trained_tokens`, `mode_id`): one for each row, without reading any."""
        return self.file.numbers(name)[self.places]

    def by_mode_and_domain(self) -> dict[tuple[str, str | None], "EncodedRows"]:
        """The rows of each mode and domain, in the order of their first ones."""
        domains = self.file.table.column("domain").dictionary_encode().combine_chunks()
        names = [*domains.dictionary.to_pylist(), None]
        ids = domains.indices.fill_null(len(names) - 1).to_numpy()[self.places]
        groups = self.numbers("mode_id").astype(np.int64) * len(names) + ids
        found, firsts, members = np.unique(groups, return_index=True, return_inverse=True)
        order = np.argsort(members, kind="stable")
        parts = np.split(self.places[order], np.cumsum(np.bincount(members))[:-1])
        return {
            (MODES[found[at] // len(names)], names[found[at] % len(names)]): EncodedRows(self.file, parts[at])
            for at in np.argsort(firsts)
        }

    def by_weight(self) -> dict[float, "EncodedRows"]:
        """The rows of each weight, the lightest first."""
        weights, members = np.unique(self.numbers("weight"), return_inverse=True)
        return {
            float(weight): EncodedRows(self.file, self.places[members == index]) for index, weight in enumerate(weights)
        }
