"""Weights on their way from the trainer's process to the engine's: a file in memory that has no name.

Its descriptor is sent, so that nothing is left behind by a kill, and no limit of /dev/shm holds.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor


class Stamp(NamedTuple):
    """What weights are told from others by.

    Attributes:
        version: the optimizer step they are of.
        fingerprint: SHA-256 of the file.
    """

    version: int
    fingerprint: str


def write_weights(named_weights: Iterable[tuple[str, Tensor]], version: int) -> tuple[int, Stamp]:
    """Copy weights, as they are now, into a new file.

    Returns:
        Its descriptor, to be closed by the caller, and its stamp.
    """
    # A merged adapter is taken apart again behind the iterator's back.
    weights = {name: weight.detach().to("cpu", copy=True).contiguous() for name, weight in named_weights}
    descriptor = _unnamed_file()
    with _path_of(descriptor).open("wb") as file:
        torch.save(weights, file)
    return descriptor, Stamp(version, _fingerprint(descriptor))


def read_weights(descriptor: int, stamp: Stamp) -> dict[str, Tensor]:
    """The weights of a file, by name.

    Raises:
        RuntimeError: they are not those of the stamp.
    """
    found = _fingerprint(descriptor)
    if found != stamp.fingerprint:
        raise RuntimeError(
            f"the weights of step {stamp.version} came with the fingerprint {found[:12]}, "
            f"they were sent with {stamp.fingerprint[:12]}"
        )
    weights: dict[str, Tensor] = torch.load(_path_of(descriptor), mmap=True, weights_only=True)
    return weights


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("weights")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _path_of(descriptor: int) -> Path:
    return Path(f"/dev/fd/{descriptor}")


def _fingerprint(descriptor: int) -> str:
    with _path_of(descriptor).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
