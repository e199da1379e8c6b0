"""The filter, run by a small machine of our own: so the one for aarch64 is tested where there is no aarch64."""

import errno
import re
import struct
from pathlib import Path

import pytest

from rewards._sandbox import seccomp
from rewards._sandbox.seccomp import DENIED, NEWEST, UNKNOWN, filter_program

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
HEADERS = {
    0: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    1: Path("/usr/include/asm-generic/unistd.h"),
}
ALLOWED, KILLED = "allowed", "killed"
CLONE_THREAD, O_RDONLY, O_WRONLY, O_TRUNC = 0x10000, 0, 1, 0o1000


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setattr(seccomp.platform, "machine", lambda: name)
    return name


def decide(program: bytes, architecture: int, number: int, *arguments: int) -> str | int:
    """What the kernel does: "allowed", "killed", or the errno of the refusal."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = position = 0
    while True:
        operation, if_true, if_false, value = instructions[position]
        position += 1
        match operation:
            case 0x20:  # load a word
                accumulator = struct.unpack_from("=I", data, value)[0]
            case 0x54:  # and
                accumulator &= value
            case 0x15:  # jump if equal
                position += if_true if accumulator == value else if_false
            case 0x25:  # jump if greater
                position += if_true if accumulator > value else if_false
            case 0x06:  # return
                return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(value) or value - 0x50000
            case _:
                raise AssertionError(f"no such operation: {operation:#x}")


def test_every_listed_call_is_refused_and_ordinary_ones_are_not(machine: str) -> None:
    column, architecture = MACHINES[machine]
    program = filter_program(allow_exec=True)
    for numbers in DENIED.values():
        number = numbers[column]
        if number is not None:
            assert decide(program, architecture, number) == errno.EPERM
    for number in (*UNKNOWN.values(), NEWEST + 1, 0x40000000):
        assert decide(program, architecture, number) == errno.ENOSYS
    ordinary = {"x86_64": (0, 1, 9, 202, 262), "aarch64": (63, 64, 222, 98, 79)}  # read, write, mmap, futex, fstatat
    for number in ordinary[machine]:
        assert decide(program, architecture, number) == ALLOWED


def test_a_call_of_another_architecture_is_the_end(machine: str) -> None:
    assert decide(filter_program(allow_exec=True), 0x40000003, 1) == KILLED  # i386


@pytest.mark.parametrize(
    ("name", "numbers", "arguments", "decision"),
    [
        ("clone of a thread", (56, 220), [0x3D0F00 | CLONE_THREAD], ALLOWED),
        ("clone of a process", (56, 220), [17], errno.EPERM),
        ("socketpair of streams", (53, 199), [1, 1 | 0o2000000], ALLOWED),
        ("socketpair of datagrams", (53, 199), [1, 2], errno.EPERM),
        ("own limits", (302, 261), [0], ALLOWED),
        ("limits of another", (302, 261), [4242], errno.EPERM),
        ("name of a thread", (157, 167), [15], ALLOWED),
        ("staying when the parent dies", (157, 167), [1], errno.EPERM),
        ("open to read", (257, 56), [0, 0, O_RDONLY], ALLOWED),
        ("open to write anew", (257, 56), [0, 0, O_WRONLY | O_TRUNC], ALLOWED),
        ("open to read and empty", (257, 56), [0, 0, O_RDONLY | O_TRUNC], errno.EPERM),
        ("open to empty", (257, 56), [0, 0, 3 | O_TRUNC], errno.EPERM),
        ("exit", (231, 94), [1], ALLOWED),
        ("exit as if killed", (231, 94), [137], KILLED),
        ("exit as if killed, modulo 256", (231, 94), [137 + 256], KILLED),
    ],
)
def test_some_calls_depend_on_an_argument(
    machine: str, name: str, numbers: tuple[int, int], arguments: list[int], decision: str | int
) -> None:
    column, architecture = MACHINES[machine]
    assert decide(filter_program(allow_exec=True), architecture, numbers[column], *arguments) == decision


def test_a_new_program_may_be_started_only_where_bubblewrap_has_to(machine: str) -> None:
    column, architecture = MACHINES[machine]
    for numbers in ((59, 221), (322, 281)):
        assert decide(filter_program(allow_exec=True), architecture, numbers[column]) == ALLOWED
        assert decide(filter_program(allow_exec=False), architecture, numbers[column]) == errno.EPERM


@pytest.mark.parametrize("column", HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(column: int) -> None:
    if not HEADERS[column].exists():
        pytest.skip(f"no {HEADERS[column]}: the kernel's headers are not installed")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", HEADERS[column].read_text()))
    for name, numbers in DENIED.items():
        number = numbers[column]
        assert known.get(name) == (None if number is None else str(number)), name
    for name, number in UNKNOWN.items():
        assert known[name] == str(number)
