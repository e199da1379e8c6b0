"""What an answer may see of the machine: the interpreter, its standard library, and the system's libraries."""

import sys
from pathlib import Path

READABLE = tuple(path for path in map(Path, ("/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache")) if path.exists())


def interpreter() -> str:
    """The Python outside any virtual environment: what is installed in one is not for answers."""
    return str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def interpreter_prefix() -> str:
    """The folder where its standard library is."""
    return str(Path(sys.base_prefix).resolve())
