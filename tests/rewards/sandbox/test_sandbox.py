import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rewards._sandbox.failure import AnswerError, Cause, SandboxError
from rewards._sandbox.limits import Limits
from rewards._sandbox.process import Tier
from rewards._sandbox.sandbox import Sandbox

LIMITS = Limits(cpu_s=2, wall_s=120.0, memory_mb=256, file_mb=1)


def ask(tier: Tier, code: str, limits: Limits = LIMITS) -> object:
    with Sandbox(tier, limits) as sandbox:
        sandbox.load(code)
        return sandbox.call("f", [])


def function(body: str) -> str:
    return f"import os, sys, ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\ndef f():\n    {body}\n"


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("raise KeyError(1)", Cause.EXCEPTION),
        ("sys.exit(0)", Cause.EXCEPTION),
        ("os._exit(3)", Cause.EXCEPTION),
        ("os._exit(0)", Cause.CRASH),
        ("os._exit(137)", Cause.CRASH),
        ("libc.exit(137)", Cause.CRASH),
        ("ctypes.string_at(0)", Cause.CRASH),
        ("return bytearray(2**30)", Cause.MEMORY),
        ("return object()", Cause.WRONG),
        ("return [[0] * 1000] * 1000", Cause.WRONG),
        ("return 'x' * 2**21", Cause.WRONG),
        ("x = []; x.append(x); return x", Cause.WRONG),
        pytest.param("exec('while True: pass')", Cause.TIMEOUT_CPU, marks=pytest.mark.slow),
        ("os.closerange(0, 3); print('x'); return 1", None),
        ("sys.stdout.write('x' * 2**21); sys.stdout.flush()", Cause.OUTPUT_LIMIT),
        ("for fd in range(3, 64): os.set_blocking(fd, True); os.write(fd, b'[\"value\", 7\\n' * 9)", Cause.EXCEPTION),
        ("return (None, True, 2**80, -0.5, float('inf'), 'é\\ud800\\0', [1], {2}, {(3,): 'x'}, frozenset({4}))", None),
    ],
)
def test_each_way_to_fail_has_its_cause(tier: Tier, body: str, cause: Cause | None) -> None:
    if cause is None:
        ask(tier, function(body))
        return
    with pytest.raises(AnswerError) as caught:
        ask(tier, function(body))
    assert caught.value.cause is cause, caught.value


@pytest.mark.slow
def test_an_answer_that_hangs_up_has_no_more_time_than_any_other(tier: Tier) -> None:
    with pytest.raises(AnswerError) as caught:
        ask(tier, function("import time; os.closerange(3, 64); time.sleep(600)"), replace(LIMITS, wall_s=5.0))
    assert caught.value.cause is Cause.TIMEOUT_WALL


def test_plain_values_come_back_with_their_types(tier: Tier) -> None:
    values = (None, True, 1, 2**80, -(2**80), -0.5, float("inf"), "é\ud800\0\n", [1, [2]], {2, "2"}, {(3,): {"x": ()}})
    assert repr(ask(tier, f"inf = float('inf')\ndef f(): return {values!r}")) == repr(values)


def test_subclasses_come_back_as_the_values_they_hold(tier: Tier) -> None:
    code = """
    import collections, enum
    class Liar(int):
        def __eq__(self, other): return True
        def __repr__(self): return "7"
        __index__ = __str__ = __repr__
    class Color(enum.IntEnum): RED = 1
    def f(): return [Liar(3), Color.RED, collections.Counter("aab"), collections.namedtuple("P", "x")(1)]
    """
    value = ask(tier, code.replace("\n    ", "\n"))
    assert value == [3, 1, {"a": 2, "b": 1}, (1,)]
    assert isinstance(value, list)
    assert [type(item) for item in value] == [int, int, dict, tuple]


@pytest.mark.parametrize(
    "escape",
    [
        "os.fork()",
        "os.kill(os.getppid(), 0)",
        "os.killpg(0, 9)",
        "os.sched_setaffinity(0, {0})",
        "os.setpriority(os.PRIO_USER, 0, 19)",
        "__import__('resource').prlimit(os.getppid() or 2, 7)",
        "__import__('socket').socket()",
        "__import__('socket').socketpair(type=2)",
        "os.chmod('.', 0)",
        "os.utime('.')",
        "os.truncate('/usr/bin/env', 0)",
        "os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)",
        "os.open(os.__file__, os.O_ACCMODE | os.O_TRUNC)",
        "os.open('/etc/passwd', os.O_RDONLY)",
        "os.open('/proc/self/environ', os.O_RDONLY)",
        "os.open('/proc/1/environ', os.O_RDONLY)",
        "os.open('/dev/tty', os.O_RDWR)",
        "os.listdir('/home')",
        "os.memfd_create('x')",
        "os.mkfifo('x') or os.mknod('y')",
        "os.unshare(0x10000000) if hasattr(os, 'unshare') else ctypes.CDLL(None).nothing()",
        "os.execv('/nowhere', ['x'])",
        "os.link('/usr/bin/env', 'env')",
        "open('/usr/x', 'w')",
    ],
)
def test_no_way_out(tier: Tier, escape: str) -> None:
    body = f"try: {escape}\n    except (OSError, AttributeError): return 'refused'\n    return 'open'"
    assert ask(tier, function(body)) == "refused"


@pytest.mark.parametrize(
    ("call", "is_errno"),
    [
        ("libc.vfork()", 1),
        ("libc.prctl(1, 0, 0, 0, 0)", 1),
        ("libc.unshare(0x10000000)", 1),
        ("libc.ptrace(0, 0, 0, 0)", 1),
    ],
)
def test_no_way_out_through_the_c_library(tier: Tier, call: str, is_errno: int) -> None:
    assert ask(tier, function(f"return ({call}, ctypes.get_errno())")) == (-1, is_errno)


@pytest.mark.parametrize(
    "body",
    [
        "import asyncio; return asyncio.run(asyncio.sleep(0, 7))",
        "import threading; x = []; t = threading.Thread(target=x.append, args=[7]); t.start(); t.join(); return x[0]",
        "import tempfile\n    with tempfile.TemporaryFile() as file: return file.write(b'x') + 6",
        "import decimal, fractions, heapq, json, random, statistics, typing, numbers; return 7",
        "import multiprocessing.pool; return 7",
        "import subprocess, urllib.request, sqlite3, unittest; return 7",
    ],
)
def test_what_honest_answers_use_works(tier: Tier, body: str) -> None:
    assert ask(tier, function(body)) == 7


def test_nothing_of_our_environment_gets_in(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SECRET", "1592")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    assert "1592" not in str(ask(tier, function("return dict(os.environ)")))
    assert ask(tier, "import sys\ndef f(): return [p for p in sys.path if p.endswith('-packages') or p == '']") == []


def test_the_same_answer_prints_a_set_in_the_same_order_each_time(tier: Tier) -> None:
    assert len({str(ask(tier, "def f(): return str({*map(str, range(50))})")) for _ in range(3)}) == 1


def test_programs_share_a_process_and_each_has_its_own_input_and_output(tier: Tier) -> None:
    program = "import sys\nprint(sum(map(int, sys.stdin)) * 2)"
    with Sandbox(tier, LIMITS) as sandbox:
        outputs = [sandbox.run(program, stdin=stdin) for stdin in ("1\n2\n", "", "5")]
    assert outputs == [b"6\n", b"0\n", b"10\n"]


@pytest.mark.parametrize(
    "program",
    [
        "print(int(input()) * 2)",
        "import os; os.write(1, b'%d' % (int(os.read(0, os.fstat(0).st_size)) * 2))",
        "import sys; sys.stdout.buffer.write(b'%d\\n' % (int(sys.stdin.buffer.readline()) * 2)); exit()",
        "import sys; n = int(open(0).read()); sys.stdout.write(str(n * 2)); sys.exit(0)",
        "import os; print(int(input()) * 2, flush=True); os._exit(0)",
        "import threading; threading.Thread(target=lambda: print(int(input()) * 2)).start()",
        "import atexit; n = int(input()); atexit.register(lambda: print(n * 2))",
        "import io, os, sys\nsys.stdout = io.StringIO()\nprint(42)\nos.write(1, sys.stdout.getvalue().encode())",
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    n: int\nif __name__ == '__main__': print(A(42).n)",
        "import sys; print(42); sys.stdin.close(); sys.stdout.close()",
        "import sys; sys.stdout = None; sys.stdout = sys.__stdout__; print(42)",
    ],
)
def test_programs_may_read_and_write_in_every_way(tier: Tier, program: str) -> None:
    with Sandbox(tier, LIMITS) as sandbox:
        assert sandbox.run(program, stdin="21\n").strip() == b"42"


@pytest.mark.parametrize("ending", ["import sys; sys.exit(1)", "import os; os._exit(1)", "1 / 0"])
def test_a_program_with_another_exit_code_than_zero_has_failed(tier: Tier, ending: str) -> None:
    with Sandbox(tier, LIMITS) as sandbox, pytest.raises(AnswerError) as caught:
        sandbox.run(f"print(42)\n{ending}", stdin="")
    assert caught.value.cause is Cause.EXCEPTION


def test_a_process_that_the_machine_kills_is_not_the_answers_fault(tier: Tier) -> None:
    with Sandbox(tier, LIMITS) as sandbox:
        process = sandbox._process
        os.kill((process._inside() or [process._popen.pid])[0], signal.SIGKILL)
        with pytest.raises(SandboxError, match="killed by the machine"):
            sandbox.call("f", [])


def test_files_that_have_no_name_any_more_count_too() -> None:
    code = """
    import os, time
    def f():
        kept = []
        for n in range(20):
            file = os.open(str(n), os.O_RDWR | os.O_CREAT)
            os.unlink(str(n))
            os.write(file, b"x" * 2**20)
        time.sleep(20)
    """
    with pytest.raises(AnswerError) as caught:
        ask(Tier.LANDLOCK, code.replace("\n    ", "\n"))
    assert caught.value.cause is Cause.OUTPUT_LIMIT


@pytest.mark.parametrize("body", ["return 1", "raise ValueError", "os._exit(0)", "ctypes.string_at(0)"])
def test_no_descriptor_and_no_child_is_left(tier: Tier, body: str) -> None:
    gc.collect()
    before = descriptors(), children()
    with pytest.raises(AnswerError) if body != "return 1" else Sandbox(tier, LIMITS):
        ask(tier, function(body))
    assert (descriptors(), children()) == before


def descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")  # noqa: PTH208  in its order, the one that lists them included


def children() -> set[str]:
    """Process ids, those included that have ended and were not waited for."""
    threads = Path("/proc/self/task").iterdir()
    return {pid for thread in threads for pid in (thread / "children").read_text().split()}


LAUNCHER = """
import sys
from rewards._sandbox.limits import Limits
from rewards._sandbox.process import Tier
from rewards._sandbox.sandbox import Sandbox
with Sandbox(Tier[sys.argv[1]], Limits(cpu_s=60, wall_s=60.0)) as sandbox:
    sandbox.load("from ctypes import CDLL; prctl = CDLL(None).prctl; prctl(1, 0, 0, 0, 0); prctl(15, b'ptlaunch')")
    print("started", flush=True)
    sandbox.run("while True: pass", stdin="")
"""


def test_nothing_survives_a_launcher_that_is_killed(tier: Tier, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", LAUNCHER, tier.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"started\n"
        assert alive("ptlaunch")
        launcher.kill()
    assert within(10, lambda: not alive("ptlaunch"))
    abandoned = list(tmp_path.glob("posttrain-sandbox-*"))
    assert len(abandoned) == (tier is Tier.LANDLOCK)
    for folder in abandoned:  # and what is left without a namespace goes with the next sandbox
        os.utime(folder, (0, 0))
    subprocess.run([sys.executable, "-c", NEXT_SANDBOX], env=environment, check=True)
    assert not list(tmp_path.glob("posttrain-sandbox-*"))


NEXT_SANDBOX = """
from rewards._sandbox.folder import job_folder
with job_folder():
    pass
"""


def alive(name: str) -> bool:
    """Whether a process of that name runs; one that has ended and waits for the machine to notice does not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        if f"({name})" in text and text.rpartition(")")[2].split()[0] != "Z":
            return True
    return False


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("setting", [{"cpu_s": 0}, {"wall_s": 0.0}, {"memory_mb": 1}, {"file_mb": 0}])
def test_limits_that_nothing_could_keep_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="need at least"):
        Limits(**setting)  # type: ignore[arg-type]
