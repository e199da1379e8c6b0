"""Tier B: Landlock (Linux 5.13 and later) takes the file system away from a process, without namespaces or root.

The rules are made here and take effect in the sandbox's process (`confine.py`). Beside what it reads, an answer gets
one folder for files, without folders in it: so its size is quickly added up and it is quickly removed, whatever it did.
https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from rewards._sandbox.world import READABLE, interpreter_prefix

_CREATE_RULESET, _ADD_RULE = 444, 445  # system calls, the same on every architecture
_GIVE_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8, 1 << 14
# What the rules govern, by the ABI version that brought it: all that a later one adds is added.
_FILE_SYSTEM = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE, 5: 1 << 15}
_NETWORK = {4: 0b11}
_SCOPES = {6: 0b11}  # abstract sockets, signals
_DEVICES = {"/dev/null": _READ_FILE | _WRITE_FILE, "/dev/zero": _READ_FILE, "/dev/urandom": _READ_FILE}


@cache
def abi_version() -> int:
    """The version of Landlock in this kernel, 0 for none."""
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _GIVE_VERSION)))


@contextmanager
def ruleset(writable: Path) -> Iterator[int]:
    """A file descriptor of the rules: read what `world` lists, and keep files in the folder `writable`.

    Raises:
        OSError: the kernel refuses.
    """
    governed = _up_to(_FILE_SYSTEM)
    attributes = struct.pack("=QQQ", governed, _up_to(_NETWORK), _up_to(_SCOPES))
    size = 8 if abi_version() < 4 else 16 if abi_version() < 6 else 24
    descriptor = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    try:
        for path in (*READABLE, Path(interpreter_prefix())):
            _allow(descriptor, path, _READ_FILE | (_READ_DIR if path.is_dir() else 0))
        for device, rights in _DEVICES.items():
            _allow(descriptor, Path(device), rights)
        files = _WRITE_FILE | _READ_FILE | _READ_DIR | _REMOVE_FILE | _MAKE_REG | _TRUNCATE
        _allow(descriptor, writable, files & governed)
        yield descriptor
    finally:
        os.close(descriptor)


def _up_to(by_version: dict[int, int]) -> int:
    return sum(bits for version, bits in by_version.items() if version <= abi_version())


def _allow(ruleset_fd: int, path: Path, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(_ADD_RULE, ruleset_fd, _PATH_BENEATH, struct.pack("=Qi", rights, parent), 0)
    finally:
        os.close(parent)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
