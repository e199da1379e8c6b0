"""Every program of `attacks/` gets a score that its index allows, and leaves nothing behind."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from rewards import Verdict, make_attempt
from rewards._sandbox.process import Tier
from rewards._sandbox.sandbox import Sandbox
from rewards.code_tests import CodeTests

FOLDER = Path(__file__).with_name("attacks")
INDEX = json.loads((FOLDER / "index.json").read_text())
ASSUMED = INDEX["limits_assumed"]
ROWS = {
    "func": {"fn_name": "double", "inputs": [[0], [3], [-7], [1000003]], "outputs": [0, 6, -14, 2000006]},
    "stdio": {"inputs": ["3", "-7", "1000003"], "outputs": ["6", "-14", "2000006"]},
}
REWARD = CodeTests(
    cpu_s=ASSUMED["cpu_s"], wall_s=ASSUMED["wall_s"], memory_mb=ASSUMED["memory_mb"], file_mb=ASSUMED["file_mb"]
)
SECRET = "CANARY-FILE-1592"
MARK = f"ptatk{os.getpid()}"  # the programs name their processes so


@dataclass
class World:
    """What is there to be attacked, and what the attack did."""

    folder: Path
    port: int
    victim: subprocess.Popen[bytes]
    received: bytearray = field(default_factory=bytearray)
    printed: str = ""

    def fill_in(self, program: str) -> str:
        for name, value in (("CANARY_DIR", self.folder), ("PORT", self.port), ("VICTIM_PID", self.victim.pid)):
            program = program.replace(f"@@{name}@@", str(value))
        return program.replace("ptatk", MARK)

    def everything_that_came_out(self) -> str:
        exfil = self.folder / "exfil.txt"
        return self.printed + self.received.decode("latin1") + (exfil.read_text() if exfil.exists() else "")

    def most(self, name: str) -> int:
        """The largest number that the program printed after `name=`, 0 if it printed none."""
        return max(map(int, re.findall(rf"{name}=(\d+)", self.printed)), default=0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "secret.txt").write_text(SECRET)
    monkeypatch.setenv("POSTTRAIN_SECRET", "CANARY-ENV-2651")
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "PTVICTIM"])
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        world = World(folder, port, victim)

        def listen_tcp() -> None:
            while True:
                connection, _ = tcp.accept()
                with connection:
                    world.received += connection.recv(65_536) or b"connected"

        def listen_udp() -> None:
            while True:
                world.received += udp.recv(65_536)

        for listen in (listen_tcp, listen_udp):
            threading.Thread(target=listen, daemon=True).start()

        class RecordingSandbox(Sandbox):
            def __exit__(self, *error: Any) -> None:
                for descriptor in self._stdio[1:]:
                    world.printed += os.pread(descriptor, 2**24, 0).decode("utf-8", "replace")
                super().__exit__(*error)

        monkeypatch.setattr("rewards._code_runs.Sandbox", RecordingSandbox)
        yield world
    victim.kill()
    victim.wait()


def grade(program: str, mode: str, reward: CodeTests = REWARD) -> Verdict:
    return reward(make_attempt(f"```python\n{program}\n```", {"tests": ROWS[mode]}))


def params(kind: str) -> list[Any]:
    return [pytest.param(entry, id=entry["name"]) for entry in INDEX[kind]]


@pytest.mark.slow
@pytest.mark.parametrize("attack", params("attacks"))
def test_an_attack_earns_nothing_and_leaves_nothing(attack: dict[str, Any], tier: Tier, world: World) -> None:
    program = world.fill_in((FOLDER / attack["file"]).read_text())
    reset_peak_memory()
    before, began = memory_mb("VmRSS"), time.monotonic()
    verdict = grade(program, attack["mode"])
    assert time.monotonic() - began < 2 * REWARD.wall_s + 2
    assert verdict.score in attack["ok_scores"], verdict
    if attack["verdicts"] == ["timeout"]:
        assert "timeout_" in verdict.reason
    assert memory_mb("VmHWM") - before < 64
    assert world.victim.poll() is None
    assert (world.folder / "secret.txt").read_text() == SECRET
    assert not world.received
    assert not survivors()
    assert not leftovers(world.folder)
    for check in attack["checks"]:
        require(check, world)


@pytest.mark.slow
@pytest.mark.parametrize("answer", params("benign"))
def test_an_honest_answer_is_judged_by_what_it_computes(answer: dict[str, Any], tier: Tier, world: World) -> None:
    patient = replace(REWARD, cpu_s=10, wall_s=60.0)  # the machine may be busy
    verdict = grade((FOLDER / answer["file"]).read_text(), answer["mode"], patient)
    assert verdict.score == answer["score"], verdict
    assert not leftovers(world.folder)


def require(check: str, world: World) -> None:
    """The checks of the index that need more than what holds after every attack."""
    if check.startswith("no_leak:"):
        assert check.removeprefix("no_leak:") not in world.everything_that_came_out()
    elif "<=" in check:
        name, _, limit = check.partition("<=")
        printed_as = {"mem": "MEM_MB", "forked": "FORKED", "wrote": "WROTE_MB", "total": "TOTAL_MB"}[name]
        assert world.most(printed_as) <= (ASSUMED["memory_mb"] if limit == "limit" else int(limit))
    else:
        assert check in {"no_survivor", "victim", "harness", "no_conn", "no_pwned", "no_leftover", "harness_mem"}


def survivors() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            name = path.read_text().strip()
        except OSError:
            continue
        if name == MARK[:15]:
            found.append(str(path))
    return found


def leftovers(canary: Path) -> list[Path]:
    packages = [Path(folder) for folder in sys.path if folder.endswith("-packages")]
    folders = [canary, Path.cwd(), Path.home(), *map(Path, ("/", "/tmp", "/var/tmp", "/dev", "/dev/shm")), *packages]
    names = ["POSTTRAIN_PWNED", "posttrain_big.bin", "posttrain_many", "posttrain_fill_0.bin"]
    names += ["result.json", "score.txt", "reward.txt"]
    return [folder / name for folder in folders for name in names if (folder / name).exists()]


def reset_peak_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def memory_mb(name: str) -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


def test_the_checks_see_what_gets_out_where_there_is_no_sandbox(world: World) -> None:
    for file in ("a26_ctypes_syscalls.py", "a28_net_loopback.py", "a24_proc_snoop.py"):
        program = world.fill_in((FOLDER / file).read_text())
        subprocess.run([sys.executable, "-c", f"{program}\ndouble(1)"], capture_output=True, check=False)
    time.sleep(0.5)  # for the listeners
    for leaked in (SECRET, "PWNED-TCP", "SAW-VICTIM"):
        assert leaked in world.everything_that_came_out()
