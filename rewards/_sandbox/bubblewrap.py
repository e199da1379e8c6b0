"""Tier A: bubblewrap gives the answer namespaces of its own and a root of which it can write /tmp alone.

https://github.com/containers/bubblewrap, a package of every distribution. No new /proc: where a container masks parts
of its own (most do), the kernel refuses to mount one. A tmpfs has a size, because it is memory that no limit counts.
"""

import shutil
from collections.abc import Mapping, Sequence

from rewards._sandbox.world import READABLE, interpreter_prefix

_MIB = 2**20
_ISOLATION = (
    *("--unshare-all", "--unshare-user", "--disable-userns"),
    *("--die-with-parent", "--new-session", "--as-pid-1"),
    *("--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--clearenv"),
)
_DEVICES = ("null", "zero", "full", "random", "urandom")


def command(seccomp_fd: int, program: Sequence[str], environment: Mapping[str, str], tmp_mb: int) -> list[str]:
    """The command that runs `program` isolated.

    Args:
        seccomp_fd: where the filter can be read.
        program: the command and its arguments.
        environment: all of its environment variables.
        tmp_mb: MiB that all its files together may take.

    Raises:
        FileNotFoundError: bubblewrap is not installed.
    """
    words = [executable(), *_ISOLATION, "--seccomp", str(seccomp_fd)]
    for path in READABLE:
        words += ["--symlink", str(path.readlink()), str(path)] if path.is_symlink() else _shown(str(path))
    words += _shown(interpreter_prefix())
    for device in _DEVICES:
        words += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    words += ["--size", str(tmp_mb * _MIB), "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"]
    for name, value in environment.items():
        words += ["--setenv", name, value]
    return [*words, "--", *program]


def executable() -> str:
    """Where bubblewrap is.

    Raises:
        FileNotFoundError: nowhere on the PATH.
    """
    path = shutil.which("bwrap")
    if path is None:
        raise FileNotFoundError("bwrap is not installed")
    return path


def _shown(path: str) -> list[str]:
    return ["--ro-bind", path, path]
