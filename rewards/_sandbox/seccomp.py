"""The system calls that an answer may not make, as a filter for the kernel (seccomp-bpf).

The list denies what a program that computes has no use for: processes of its own (RLIMIT_NPROC counts all processes of
a user, so it is no limit for one answer), other processes, the network, namespaces, and what Landlock does not watch.
Threads are allowed. The numbers are those of <asm/unistd.h> (x86_64) and <asm-generic/unistd.h> (aarch64).
"""

import platform
import struct
from dataclasses import dataclass, field

# fmt: off
DENIED: dict[str, tuple[int | None, int | None]] = {  # name: number on x86_64, on aarch64
    # processes of its own
    "fork": (57, None), "vfork": (58, None),
    # what reaches other processes
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # the network, and sockets of this machine
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "move_mount": (429, 429), "open_tree": (428, 428), "mount_setattr": (442, 442),
    # what Landlock does not watch: who owns a file, its mode, its times
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "truncate": (76, 45),
    "mknod": (133, None), "mknodat": (259, 33), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "inotify_init": (253, None), "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    # what outlives a process, and memory that no limit counts
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219),
    # the kernel's own affairs
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162), "syslog": (103, 116),
    "vhangup": (153, 58), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "personality": (135, 92), "lookup_dcookie": (212, 18), "uselib": (134, None),
}
# fmt: on
# As if the kernel were too old: the C library then does what it did before, with a call that can be judged.
UNKNOWN = {"clone3": 435, "openat2": 437, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}
NEWEST = 451  # cachestat; newer ones are unknown too, since nobody has judged them

_CLONE, _SOCKETPAIR, _PRLIMIT, _PRCTL = (56, 220), (53, 199), (302, 261), (157, 167)
_OPEN, _OPENAT, _EXITS, _EXECS = (2, None), (257, 56), ((60, 93), (231, 94)), ((59, 221), (322, 281))
_CLONE_THREAD, _SOCK_TYPE, _SOCK_STREAM, _PR_SET_PDEATHSIG, _O_ACCMODE, _O_TRUNC = 0x10000, 0xF, 1, 1, 0o3, 0o1000
KILLED_STATUS = 137  # what shells and bubblewrap say of a process that SIGKILL ended: no answer may say it of itself

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the table, AUDIT_ARCH_*
_LOAD_WORD, _JUMP_EQUAL, _JUMP_GREATER, _AND, _RETURN = 0x20, 0x15, 0x25, 0x54, 0x06  # <linux/bpf_common.h>
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38  # <linux/seccomp.h>
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16  # in struct seccomp_data


def is_supported() -> bool:
    """Whether this machine's system calls are in the table."""
    return platform.machine() in _ARCHITECTURES


def filter_program(*, allow_exec: bool) -> bytes:
    """The filter as an array of `struct sock_filter`.

    Args:
        allow_exec: bubblewrap sets the filter before it starts the interpreter; where the interpreter sets it itself,
            it need not start anything.
    """
    column, architecture = _ARCHITECTURES[platform.machine()]
    code = _Program(column)
    code.load(_ARCHITECTURE_OFFSET)
    code.add(_JUMP_EQUAL, architecture, if_true=1)
    code.answer(_KILL)
    code.load(_NUMBER_OFFSET)
    code.add(_JUMP_GREATER, NEWEST, if_false=1)
    code.answer(_ENOSYS)
    for number in UNKNOWN.values():
        code.on((number, number), _ENOSYS)
    for numbers in (*DENIED.values(), *(() if allow_exec else _EXECS)):
        code.on(numbers, _EPERM)
    code.on_argument(_CLONE, 0, mask=_CLONE_THREAD, allowed=_CLONE_THREAD)
    # Sockets that are connected to each other from the start, and can never be sent anywhere else: asyncio has a pair.
    code.on_argument(_SOCKETPAIR, 1, mask=_SOCK_TYPE, allowed=_SOCK_STREAM)
    code.on_argument(_PRLIMIT, 0, allowed=0)  # its own limits, not those of another process
    code.on_argument(_PRCTL, 0, refused=_PR_SET_PDEATHSIG)  # it ends with us, like it or not
    for numbers, argument in (
        (_OPEN, 1),
        (_OPENAT, 2),
    ):  # to empty a file without writing: Landlock 1 and 2 let it pass
        for no_writing in (0, _O_ACCMODE):
            code.on_argument(numbers, argument, mask=_O_ACCMODE | _O_TRUNC, refused=no_writing | _O_TRUNC)
    for numbers in _EXITS:
        code.on_argument(numbers, 0, mask=0xFF, refused=KILLED_STATUS, with_answer=_KILL)
    code.answer(_ALLOW)
    return bytes(code.instructions)


@dataclass(slots=True)
class _Program:
    """Instructions so far; the number of the system call stays loaded from one rule to the next."""

    column: int
    instructions: bytearray = field(default_factory=bytearray)

    def add(self, operation: int, value: int, if_true: int = 0, if_false: int = 0) -> None:
        self.instructions += struct.pack("=HBBI", operation, if_true, if_false, value)

    def load(self, offset: int) -> None:
        self.add(_LOAD_WORD, offset)

    def answer(self, action: int) -> None:
        self.add(_RETURN, action)

    def on(self, numbers: tuple[int | None, int | None], action: int) -> None:
        """`action` for one system call."""
        number = numbers[self.column]
        if number is not None:
            self.add(_JUMP_EQUAL, number, if_false=1)
            self.answer(action)

    def on_argument(
        self,
        numbers: tuple[int | None, int | None],
        argument: int,
        *,
        mask: int = 0xFFFFFFFF,
        allowed: int | None = None,
        refused: int | None = None,
        with_answer: int = _EPERM,
    ) -> None:
        """One system call by the lower 32 bits of an argument under `mask`: only `allowed`, or all but `refused`."""
        number = numbers[self.column]
        if number is None:
            return
        value = allowed if refused is None else refused
        assert value is not None
        is_refused_value = int(refused is not None)
        self.add(_JUMP_EQUAL, number, if_false=5)
        self.load(_ARGUMENTS_OFFSET + 8 * argument)
        self.add(_AND, mask)
        self.add(_JUMP_EQUAL, value, if_true=1 - is_refused_value, if_false=is_refused_value)
        self.answer(with_answer)
        self.load(_NUMBER_OFFSET)
