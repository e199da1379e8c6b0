"""Read rows from JSONL and Parquet files and say which file and line a bad one stands in."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from posttrain.chat import MODES
from posttrain.errors import UserError
from posttrain.recipe import Source

Row = dict[str, Any]


def source_files(sources: Sequence[Source]) -> list[Path]:
    """The data files of a recipe, for hashing.

    Raises:
        UserError: a file does not exist.
    """
    files = [Path(source.path) for source in sources]
    for file in files:
        if not file.is_file():
            raise UserError(f"data file '{file}' does not exist; check data.sources in the recipe")
    return files


def read_rows(source: Source) -> list[Row]:
    """All rows of one source, each with `messages` and `mode`, plus the columns of the file.

    `mode`, `domain` and `language` of the source fill what a row does not have or has as null; a row without any
    `mode` is reasoning where an assistant turn has thinking, else non-reasoning.

    Raises:
        UserError: the file is missing, empty or of an unknown kind, or a row is unusable; names file and line.
    """
    (path,) = source_files([source])
    rows = []
    for number, row in _raw_rows(path):
        where = f"{path}:{number}"
        messages = _messages(row, where)
        mode = row.get("mode") or source.mode or _inferred_mode(messages)
        if mode not in MODES:
            raise UserError(f"{where}: mode is '{mode}'; it must be one of {', '.join(MODES)}")
        defaults = {"domain": source.domain, "language": source.language}
        filled = {key: value for key, value in defaults.items() if value is not None and row.get(key) is None}
        rows.append({**row, **filled, "messages": messages, "mode": mode})
    if not rows:
        raise UserError(f"data file '{path}' holds no rows; it needs at least one")
    return rows


def read_all(sources: Sequence[Source]) -> list[Row]:
    """The rows of every source, one after the other."""
    return [row for source in sources for row in read_rows(source)]


def split_prompt(row: Row) -> list[Row]:
    """The messages before the model's last turn: what it is asked."""
    messages: list[Row] = row["messages"]
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def _raw_rows(path: Path) -> Iterator[tuple[int, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.read_table(path)
        except pyarrow.ArrowException as error:
            raise UserError(f"data file '{path}' cannot be read as Parquet ({error}); write it again") from error
        yield from enumerate(table.to_pylist(), start=1)
        return
    if path.suffix not in (".jsonl", ".json"):
        raise UserError(f"data file '{path}' has the ending '{path.suffix}'; use .jsonl or .parquet")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise UserError(f"{path}:{number}: not UTF-8 text; save the file as UTF-8") from error
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}:{number}: not valid JSON ({error.msg}); one object a line is needed"
                ) from error


def _messages(row: Any, where: str) -> list[Row]:
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        found = f"columns {sorted(row)}" if isinstance(row, dict) else f"a {type(row).__name__}"
        raise UserError(f"{where}: no messages (found {found}); a row needs a non-empty list under `messages`")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or "role" not in message:
            raise UserError(f"{where}: message {index} has no role; each needs `role` and `content`")
        if not isinstance(message.get("content"), str) and not message.get("tool_calls"):
            raise UserError(f"{where}: message {index} ({message['role']}) has no text under `content`")
    # Parquet has every key in every message, null where it was absent.
    return [{key: value for key, value in message.items() if value is not None} for message in messages]


def _inferred_mode(messages: list[Row]) -> str:
    return "reasoning" if any(message.get("reasoning_content") for message in messages) else "non_reasoning"
