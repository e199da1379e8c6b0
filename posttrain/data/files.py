"""The files a path stands for, and the records in one: JSON lines, plain or compressed, and Parquet."""

import glob
import json
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.data.unusable import RowError
from posttrain.errors import UserError

LINES = (".jsonl", ".json", ".jsonl.gz", ".jsonl.zst")
ENDINGS = (*LINES, ".parquet")
CHUNK_BYTES = 1_000_000  # of lines; bounds what is in memory and what a worker is handed at a time
CHUNK_RECORDS = 256


class Chunk(NamedTuple):
    """Some records of a file in a row. Reading them is cheap; parsing them is not, and other processes can do it.

    Attributes:
        first: the line of the first record, or its number, from 1.
        content: lines (bytes), an Arrow batch, or a list of values.
    """

    first: int
    content: Any


def data_files(path: str) -> list[Path]:
    """The data files of a file, a folder (all in it, at any depth) or a glob, sorted by name.

    In folders and globs, files of other kinds and hidden ones are passed over.

    Raises:
        UserError: there is no such file, or none of a known kind.
    """
    place = Path(path)
    if place.is_dir():
        found = {file for file in place.rglob("*") if not _is_hidden(file.relative_to(place))}
    elif glob.has_magic(path) and not place.exists():
        # Path.glob takes no absolute pattern; with two ** a file is found twice.
        found = {Path(file) for file in glob.glob(path, recursive=True)}  # noqa: PTH207
    else:
        if not place.is_file():
            raise UserError(f"data file '{path}' does not exist; mend the path, or run what writes the file")
        if not place.name.endswith(ENDINGS):
            raise UserError(f"data file '{path}' has the ending '{place.suffix}'; use {', '.join(ENDINGS)}")
        return [place]
    files = sorted(file for file in found if file.is_file() and file.name.endswith(ENDINGS))
    if not files:
        raise UserError(f"'{path}' holds no data file; need files that end in {', '.join(ENDINGS)}")
    return files


def read_chunks(path: Path) -> Iterator[Chunk]:
    """The records of a file in their order, a piece at a time and still as they are in it.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".json" and _is_array(path):
        try:
            yield from chunks_of(json.loads(path.read_bytes()))
        except ValueError as error:
            raise UserError(f"data file '{path}' is not valid JSON ({error}); write it again") from error
    else:
        yield from _lines(path)


def chunks_of(values: Iterable[Any]) -> Iterator[Chunk]:
    """The same of records that are values already."""
    values, first = iter(values), 1
    while content := list(islice(values, CHUNK_RECORDS)):
        yield Chunk(first, content)
        first += len(content)


def parse_chunk(chunk: Chunk) -> Iterator[tuple[int, Any]]:
    """Each record with its line (in Parquet and JSON arrays: its number), from 1; blank lines are passed over.

    A line that is no JSON comes as the `RowError` that says so, so that the reader decides what becomes of it.
    """
    content = chunk.content if isinstance(chunk.content, list) else map(from_columns, chunk.content.to_pylist())
    for number, value in enumerate(content, start=chunk.first):
        if not isinstance(value, bytes):
            yield number, value
        elif value.strip():
            yield number, _parsed(value)


def read_file(path: Path) -> Iterator[tuple[int, Any]]:
    """The records of all chunks.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    for chunk in read_chunks(path):
        yield from parse_chunk(chunk)


def from_columns(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a columnar file, its columns without the nested keys that are null.

    Such a file gives every struct each key that any row has: a tool would get the parameters of all others.
    """
    return {key: _without_nulls(value) for key, value in row.items()}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _lines(path: Path) -> Iterator[Chunk]:
    import pyarrow

    first = 1
    try:
        with pyarrow.input_stream(str(path), compression="detect") as stream, BufferedReader(stream) as file:
            while lines := file.readlines(CHUNK_BYTES):
                yield Chunk(first, lines)
                first += len(lines)
    except OSError as error:
        raise UserError(f"data file '{path}' cannot be read ({error}); write it again") from error


def _parsed(line: bytes) -> Any:
    try:
        value = json.loads(line.decode("utf-8-sig"))
        if b"\\ud" in line.lower():  # half of a surrogate pair is JSON, but no text
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        return RowError("not UTF-8", "not UTF-8 text; save the file as UTF-8")
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        problem = error.msg if isinstance(error, json.JSONDecodeError) else error
        return RowError("not JSON", f"not valid JSON ({problem}); one object a line is needed")
    return value


def _parquet(path: Path) -> Iterator[Chunk]:
    import pyarrow.parquet

    first = 1
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=CHUNK_RECORDS):
                yield Chunk(first, batch)
                first += len(batch)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"data file '{path}' cannot be read as Parquet ({error}); write it again") from error


def _is_array(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).removeprefix(BOM_UTF8).lstrip().startswith(b"[")


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
