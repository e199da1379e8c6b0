"""What a source is encoded to, kept: computed once by whoever comes first, and read by all others.

It is found by what it follows from: the content of the source's files, the settings of the source that a row can show,
the tokenizer with its chat template, and the code that encodes.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyarrow as pa
from rich.markup import escape

import posttrain.chat
import posttrain.data
import rewards._call_text
from posttrain.data.encoded_file import SCHEMA, EncodedFile
from posttrain.data.encoder import Encoder
from posttrain.data.rows import no_rows, source_files
from posttrain.errors import UserError
from posttrain.recipe import Source
from posttrain.run_folder.manifest import sha256_of
from posttrain.runs import written_aside
from posttrain.terminal import say

PACKAGES = ("jinja2", "tokenizers", "transformers")  # of the libraries, what decides which tokens a row becomes
TELL_EVERY_S = 15.0


class Encoding(NamedTuple):
    """The encoded records of a source, and what it took; from the cache it took 0 processes."""

    file: EncodedFile
    seconds: float
    num_processes: int


def encoding_of(source: Source, encoder: Encoder, tokenizer_key: str) -> Encoding:
    """The encoded records of a source, from the cache or else computed and put there.

    Several processes may ask at once: one computes, the others wait. What is there is whole: a process that stops
    half-way leaves nothing that another would take.

    Raises:
        UserError: the source cannot be read or has no records, or the cache cannot be written.
    """
    folder = cache_folder() / _key(source, tokenizer_key)
    path = folder / "rows.arrow"
    if path.exists():
        return Encoding(EncodedFile(path), 0.0, 0)
    began = time.monotonic()
    try:
        with _locked(folder):
            if path.exists():
                return Encoding(EncodedFile(path), 0.0, 0)
            with written_aside(path) as aside:
                _write(aside, source, encoder)
    except OSError as error:
        raise UserError(
            f"the encoded rows cannot be kept in '{folder}' ({error}); set HF_DATASETS_CACHE to a folder with space"
        ) from error
    return Encoding(EncodedFile(path), time.monotonic() - began, encoder.num_processes)


def cache_folder() -> Path:
    """`posttrain` in the cache of `datasets`: where HF_DATASETS_CACHE, HF_HOME or XDG_CACHE_HOME put it."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "posttrain"


def key_of_tokenizer(tokenizer: Any) -> str:
    """A hash of all that a tokenizer is saved as: vocabulary, rules, special tokens, chat template."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return sha256_of(Path(folder))


def _key(source: Source, tokenizer_key: str) -> str:
    files = source_files([source])
    with ThreadPoolExecutor() as threads:
        contents = [*threads.map(sha256_of, files)]
    follows_from: Mapping[str, Any] = {
        "files": [(content, file.suffix) for content, file in zip(contents, files, strict=True)],
        "source": (source.config, source.split, source.mode, source.domain),
        "tokenizer": tokenizer_key,
        "code": _code(),
        "packages": [version(package) for package in PACKAGES],
    }
    return hashlib.sha256(json.dumps(follows_from).encode()).hexdigest()


def _code() -> str:
    """A hash of the modules that encode: rows that they would encode otherwise now are never taken for the same."""
    folders = (Path(package.__path__[0]) for package in (posttrain.chat, posttrain.data))
    modules = [module for folder in folders for module in sorted(folder.glob("*.py"))]
    modules.append(Path(rewards._call_text.__file__))  # how a tool call is read back
    return hashlib.sha256(b"".join(module.read_bytes() for module in modules)).hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder, made where it is not there, waiting for whoever holds it; the system frees it when one dies."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: what comes last takes the place of what is the same
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for left in folder.glob(".*.aside"):  # by a process that was killed
                left.unlink()
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, source: Source, encoder: Encoder) -> None:
    name, num_rows, began = source.name or source.path, 0, time.monotonic()
    told = began
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for batch in encoder.batches(source):
            writer.write_batch(batch)
            num_rows += len(batch)
            if (now := time.monotonic()) - told > TELL_EVERY_S:
                say(f"  encoding {escape(name)}: {num_rows:,} rows, {num_rows / (now - began):,.0f} a second")
                told = now
    if not num_rows:
        raise no_rows(source)
