"""Writes that are whole or not there, and JSON lines that can lose their tail."""

import json
import math
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from posttrain.errors import UserError

# JSON allows these inside a string, but `str.splitlines` cuts a line there.
LINE_BREAKS = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "\u0085\u2028\u2029"})


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path to write to, moved to `path` at the end: whoever reads `path`, at any time, sees the old file or the new.

    After an error `path` is as it was before.
    """
    # On a shared disk another machine may have a process of the same number.
    aside = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.aside")
    aside.unlink(missing_ok=True)  # what a killed process of the same number left
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json_atomically(path: Path, content: Any) -> None:
    """The same for a JSON document; a number that is not finite becomes null."""
    write_text_atomically(path, json.dumps(json_safe(content), ensure_ascii=False, indent=2) + "\n")


def sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk: a file that was moved in is there after a power cut, too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_writable(folder: Path) -> None:
    """Write a file where the folder is, or where it will be, and take it away again.

    Raises:
        UserError: it could not be written.
    """
    present = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=present) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        problem = f"cannot write to {present} ({error.strerror})"
        raise UserError(f"{problem}; mount it writable, make room, or choose another run=<folder>") from error


def append_json_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append one line a record, in one write that is handed to the system before this returns."""
    lines = "".join(json.dumps(json_safe(record), ensure_ascii=False) + "\n" for record in records)
    # Half a surrogate pair cannot be written as UTF-8; its backslash form is what JSON writes for it.
    with path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.write(lines.translate(LINE_BREAKS))


def keep_steps(path: Path, last_step: float = math.inf) -> float:
    """Drop the lines of a JSON-lines file whose `step` is past `last_step`, and a line that a kill cut short.

    Returns:
        The largest `time` (seconds) in the file before the cut; 0 where no line has one.
    """
    if not path.is_file():
        return 0.0
    records = list(_records(path))
    write_text_atomically(path, "".join(line for line, record in records if (record.get("step") or 0) <= last_step))
    return max((record.get("time") or 0.0 for _, record in records), default=0.0)


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The whole lines of a JSON-lines file, each as text and as the object it says."""
    with path.open("rb") as lines:
        for line in lines:
            try:
                text = line.decode("utf-8")
                record = json.loads(text)
            except ValueError:  # not UTF-8 and not JSON both are one
                continue
            if isinstance(record, dict) and text.endswith("\n"):
                yield text, record


def json_safe(value: Any) -> Any:
    """`value` in JSON's own types: NaN and infinity null, paths text, scalars of NumPy and PyTorch plain numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return json_safe(value.item()) if hasattr(value, "item") else value
