"""Runs in the sandbox's process, before the answer is read: it gives up what bubblewrap would have taken away.

It is sent as code, so it imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38  # <linux/prctl.h>
_SIGKILL = 9  # importing `signal` takes its time
_SECCOMP_MODE_FILTER, _LANDLOCK_RESTRICT_SELF, _CAPABILITY_VERSION = 2, 446, 0x20080522


class _Filter(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def confine(parent: int, ruleset_fd: int | None, seccomp: bytes | None) -> None:
    """End with the parent, and, where they are given, be bound by the rules of Landlock and the filter for good.

    Args:
        parent: the process that started this one.
        ruleset_fd: descriptor of Landlock's rules.
        seccomp: the filter, an array of `struct sock_filter`.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def need(result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def prctl(option: int, *arguments: object) -> None:
        need(libc.prctl(option, *arguments, *[0] * (4 - len(arguments))))

    prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # it was too late
        os._exit(1)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if ruleset_fd is not None:
        need(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset_fd, 0))
        os.close(ruleset_fd)
    if seccomp is not None:
        # Root keeps its number, which the interpreter may need to read its own files, and none of its powers.
        need(libc.capset((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()))
        prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Filter(len(seccomp) // 8, seccomp)))
