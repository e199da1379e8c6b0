"""The rows of a source: found, read, brought into one shape, each with the place it stands in."""

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.chat import MODES, separate_thinking
from posttrain.data.files import Chunk, chunks_of, data_files, parse_chunk, read_chunks
from posttrain.data.hub import hub_files, hub_rows
from posttrain.data.shapes import to_messages
from posttrain.data.unusable import RowError
from posttrain.errors import UserError
from posttrain.recipe import Source, parse_hub_path

Row = dict[str, Any]
_SHOWN = 20  # unusable rows in an error


class Piece(NamedTuple):
    """A chunk of a source, and the file that it is from."""

    file: str  # its name, or the `hub:` path
    file_index: int  # its place in `file_names`
    chunk: Chunk


class Record(NamedTuple):
    """What stands in one place of a source: a row, or why there is none.

    Attributes:
        file: the file, or the `hub:` path.
        line: the line; in Parquet, JSON arrays and hub data sets the row; from 1.
        row: with `messages`, `mode` and the other columns.
        problem: why the row cannot be used.
        converted: what was brought into another shape.
        is_mode_inferred: neither the row nor the source names the mode, its thinking (or the lack of it) shows it.
    """

    file: str
    line: int
    row: Row
    problem: RowError | None = None
    converted: Sequence[str] = ()
    is_mode_inferred: bool = False


def source_files(sources: Sequence[Source]) -> list[Path]:
    """The data files of a recipe, for hashing; of a hub data set, those in the cache.

    Raises:
        UserError: a file does not exist, or a data set cannot be loaded.
    """
    return [file for source in sources for file in _files(source)]


def read_records(source: Source) -> Iterator[Record]:
    """Everything in a source, one after the other; what cannot be used comes as a record that says why.

    Raises:
        UserError: a file is missing or cannot be read, or the source holds nothing.
    """
    is_empty = True
    for piece in read_pieces(source):
        for record in parse_piece(piece, source):
            is_empty = False
            yield record
    if is_empty:
        raise no_rows(source)


def file_names(source: Source) -> list[str]:
    """The names of a source's files as its records give them, in the order in which they are read.

    Raises:
        UserError: a file is missing.
    """
    return [source.path] if parse_hub_path(source.path) else [str(file) for file in data_files(source.path)]


def read_pieces(source: Source) -> Iterator[Piece]:
    """What a source holds, still to be parsed; a piece is about a megabyte.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    for index, name in enumerate(file_names(source)):
        for chunk in _chunks(source, name):
            yield Piece(name, index, chunk)


def parse_piece(piece: Piece, source: Source) -> Iterator[Record]:
    """The records of a piece; what cannot be used comes as a record that says why.

    Raises:
        UserError: a column holds what Python has no value for.
    """
    for line, raw in _parsed(piece):
        try:
            yield _record(piece.file, line, raw, source)
        except RowError as problem:
            yield Record(piece.file, line, {}, problem)


def no_rows(source: Source) -> UserError:
    """What is wrong with a source without a record."""
    return UserError(f"data source '{source.path}' holds no rows; it needs at least one")


def read_all(sources: Sequence[Source]) -> list[Row]:
    """The rows of every source, one after the other, each with `messages` and `mode`, plus the columns of the file.

    `mode`, `domain` and `language` of the source fill what a row does not have or has as null; a row without any
    `mode` is reasoning where the assistant's last response has thinking, else non-reasoning.

    Raises:
        UserError: as `read_records`, or rows are unusable; names the first of them with file and line.
    """
    rows, problems = [], []
    for source in sources:
        for record in read_records(source):
            if record.problem:
                problems.append(f"{record.file}:{record.line}: {record.problem}")
            rows.append(record.row)
    if len(problems) > 1:
        left_out = [f"... and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
        counts = f"{len(problems):,} of {len(rows):,} rows cannot be used"
        raise UserError(f"{counts}; mend them or take them out:", [*problems[:_SHOWN], *left_out])
    if problems:
        raise UserError(problems[0])
    return rows


def place_of(sources: Sequence[Source], number: int) -> str:
    """Where row `number` of `read_all`, counted from 0, stands: `file:line`. Reads the sources again."""
    records = (record for source in sources for record in read_records(source))
    record = next(islice(records, number, None))
    return f"{record.file}:{record.line}"


def split_prompt(row: Row) -> list[Row]:
    """The messages before the model's last turn: what it is asked."""
    messages: list[Row] = row["messages"]
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def last_response(messages: Sequence[Row]) -> list[Row]:
    """What follows the last user message: the assistant's turns and the tools' results between them, last first."""
    return list(takewhile(lambda message: message["role"] != "user", reversed(messages)))


def _files(source: Source) -> list[Path]:
    if hub := parse_hub_path(source.path):
        return hub_files(hub, source.config, source.split or "train")
    return data_files(source.path)


def raw_records(source: Source) -> Iterator[tuple[str, int, Any]]:
    """What stands in a source as it is: file, line and record; a line that is no JSON comes as its `RowError`.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    for piece in read_pieces(source):
        for line, raw in _parsed(piece):
            yield piece.file, line, raw


def _chunks(source: Source, name: str) -> Iterator[Chunk]:
    if hub := parse_hub_path(source.path):
        return chunks_of(hub_rows(hub, source.config, source.split or "train"))
    return read_chunks(Path(name))


def _parsed(piece: Piece) -> list[tuple[int, Any]]:
    try:
        return list(parse_chunk(piece.chunk))
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date after the year 9999
        raise UserError(f"data file '{piece.file}' cannot be read ({error}); write it again") from error


def _record(file: str, line: int, raw: Any, source: Source) -> Record:
    if isinstance(raw, RowError):
        raise raw
    if not isinstance(raw, dict):
        raise RowError("no messages", f"no messages (found a {type(raw).__name__}); a row needs to be an object")
    row, converted = to_messages(raw)
    written = _messages(row)
    messages = [_with_thinking_apart(message) for message in written]
    if messages != written:
        converted.append("thinking in the text")
    shown = _shown_mode(messages)
    mode = row.get("mode") or source.mode
    if (mode or shown) not in MODES:
        raise RowError("unknown mode", f"mode is '{mode}'; it must be one of {', '.join(MODES)}")
    defaults = {"domain": source.domain, "language": source.language}
    filled = {key: value for key, value in defaults.items() if value is not None and row.get(key) in (None, "")}
    row = {**row, **filled, "messages": messages, "mode": mode or shown}
    return Record(file, line, row, converted=converted, is_mode_inferred=mode is None)


def _messages(row: Row) -> list[Row]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RowError(
            "no messages",
            f"no messages (found columns {sorted(row)}); a row needs a non-empty list under `messages`",
        )
    return [_message(message, f"message {index}") for index, message in enumerate(messages)]


def _message(message: Any, which: str) -> Row:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise RowError("no messages", f"{which} has no role; each needs `role` and `content`")
    # Parquet has every key in every message, null where it was absent.
    present = {key: value for key, value in message.items() if value is not None}
    for key in ("content", "reasoning_content"):
        is_needed = key == "content" and not present.get("tool_calls")
        if not isinstance(present.get(key, None if is_needed else ""), str):
            raise RowError("no text", f"{which} ({message['role']}) has no text under `{key}`")
    if present["role"] == "user" and not present["content"].strip():
        raise RowError("no text", f"{which} (user) is empty")
    return present


def _with_thinking_apart(message: Row) -> Row:
    if message["role"] != "assistant":
        return message
    try:
        return separate_thinking(message)
    except UserError as error:
        raise RowError("broken thinking tags", str(error)) from error


def _shown_mode(messages: list[Row]) -> str:
    response = last_response(messages) or messages  # a prompt alone: what it quotes of earlier responses
    return "reasoning" if any(message.get("reasoning_content") for message in response) else "non_reasoning"
