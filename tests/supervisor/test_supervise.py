"""What is started again and what is not, with small stages that really crash, hang and are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

SUPERVISOR = """
import sys
from pathlib import Path
from posttrain.supervisor import watch
from posttrain.supervisor.supervise import supervise
watch.START_S = 0.0
restarts, seconds, *command = sys.argv[1:]
sys.exit(supervise(command, Path("run"), restarts=int(restarts), hang_after_s=float(seconds)))
"""
# `attempt` counts from 1; `beat` says that a step is made.
STAGE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from posttrain.run_folder.heartbeat import write_beat
from posttrain.stacks import register_stacks
register_stacks()
run = Path("run")
run.mkdir(exist_ok=True)
attempts = Path("attempts")
attempt = len(attempts.read_text()) + 1 if attempts.exists() else 1
attempts.write_text("x" * attempt)
beat = lambda step: write_beat(run, step)
def say(status, error=""):
    (run / "manifest.json").write_text(json.dumps({"status": status, "attempt": attempt, "notes": {"error": error}}))
say("running")
"""
# Detaches itself from its parent, its session and its group.
DAEMON = """
daemon = "import os, time; os.setsid(); os.fork() and os._exit(0); "
daemon += "open('daemon', 'w').write(str(os.getpid())); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", daemon])
while not (Path("daemon").exists() and Path("daemon").read_text()):
    time.sleep(0.01)
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def begin(body: str, *, restarts: int = 5, hang_after_s: float = 60) -> subprocess.Popen[str]:
        (tmp_path / "stage.py").write_text(STAGE + body)
        words = [str(restarts), str(hang_after_s), sys.executable, "stage.py"]
        return subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.fixture
def supervised(start: Start, tmp_path: Path) -> Callable[..., tuple[int, str, list[dict[str, Any]]]]:
    """`supervised(body)`: exit code, what the supervisor said, and a record of every attempt."""

    def run(body: str, **settings: Any) -> tuple[int, str, list[dict[str, Any]]]:
        process = start(body, **settings)
        _, said = process.communicate(timeout=120)
        lines = (tmp_path / "run" / "attempts.jsonl").read_text().splitlines()
        return process.returncode, said, [json.loads(line) for line in lines]

    return run


def wait_for(path: Path) -> str:
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return path.read_text()


def is_gone(pid: int) -> bool:
    """A zombie that nobody has waited for yet is."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_stage_that_gets_further_every_time_is_started_until_it_is_done(supervised: Any) -> None:
    code, said, attempts = supervised("beat(10 * attempt)\nif attempt < 3: os.kill(os.getpid(), signal.SIGKILL)")
    assert code == 0
    assert [(each["ended"], each["step"], each["again"]) for each in attempts] == [
        ("died by SIGKILL", 10, True),
        ("died by SIGKILL", 20, True),
        ("ended with exit code 0", 30, False),
    ]
    assert "attempt 1 died by SIGKILL at step 10; restart 1 of 5" in said


def test_a_stage_that_gets_no_further_is_started_once_more_and_no_more(supervised: Any) -> None:
    code, said, attempts = supervised("beat(7 - attempt)\nsys.exit(1)")
    assert code == 1
    assert [each["step"] for each in attempts] == [6, 5]
    assert "attempt 2 ended with exit code 1 at step 5; not started again: it got no further than step 6" in said


def test_restarts_are_limited(supervised: Any) -> None:
    code, said, attempts = supervised("beat(attempt)\nos.kill(os.getpid(), signal.SIGSEGV)", restarts=2)
    assert code == 128 + signal.SIGSEGV
    assert len(attempts) == 3
    assert "that was the last of 2 restarts" in said


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("say('failed', 'UserError: got 1')\nsys.exit(2)", 2),
        ("say('failed', 'UserError: got 1')\nsys.exit(1)", 2),  # as a launcher that has exit codes of its own
        ("say('interrupted')\nsys.exit(75)", 75),
        ("say('interrupted')\nsys.exit(1)", 75),
        ("say('interrupted')\nsys.exit(130)", 130),
    ],
)
def test_a_mistake_and_a_stop_are_no_crash(supervised: Any, body: str, code: int) -> None:
    got, _, attempts = supervised(f"beat(attempt)\n{body}")
    assert got == code
    assert len(attempts) == 1


def test_what_an_earlier_run_left_in_the_manifest_does_not_count(supervised: Any, tmp_path: Path) -> None:
    left = {"status": "interrupted", "notes": {}}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(left))
    body = f"(run / 'manifest.json').write_text({json.dumps(left)!r})\nsys.exit(1)"
    assert len(supervised(body)[2]) == 2


def test_a_hang_is_told_by_its_stacks_and_ended_with_all_that_it_started(supervised: Any, tmp_path: Path) -> None:
    body = f"""
def stuck_here():
    while True:
        pass
beat(attempt)
if attempt == 1:
    {DAEMON.strip().replace(chr(10), chr(10) + "    ")}
    stuck_here()
"""
    code, said, attempts = supervised(body, hang_after_s=5)
    assert code == 0
    assert attempts[0]["ended"].startswith("hung, ")
    assert len(attempts) == 2
    stacks = (tmp_path / "run" / "stacks-1.txt").read_text()
    assert "stage.py" in stacks
    assert "in stuck_here" in stacks
    assert is_gone(int((tmp_path / "daemon").read_text()))
    assert "restart 1 of 5" in said


def test_a_hang_before_the_first_step_is_one_too(supervised: Any) -> None:
    attempts = supervised("if attempt == 1: os.kill(os.getpid(), signal.SIGSTOP)", hang_after_s=3)[2]
    assert [each["ended"].partition(",")[0] for each in attempts] == ["hung", "ended with exit code 0"]


def test_nothing_that_a_finished_stage_started_is_left(supervised: Any, tmp_path: Path) -> None:
    assert supervised(DAEMON)[0] == 0
    assert is_gone(int((tmp_path / "daemon").read_text()))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_stage_not_started_again(start: Start, tmp_path: Path, how: int) -> None:
    body = f"""
signal.signal({int(how)}, lambda *_: (Path("got").write_text("it"), sys.exit(75)))
beat(1)
Path("ready").write_text("yes")
time.sleep(600)
"""
    process = start(body)
    wait_for(tmp_path / "ready")
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert (tmp_path / "got").exists()
    assert (tmp_path / "attempts").read_text() == "x"


def test_a_second_signal_ends_a_stage_that_does_not_care(start: Start, tmp_path: Path) -> None:
    body = "signal.signal(15, lambda *_: Path('got').write_text('it'))\nPath('pid').write_text(str(os.getpid()))\n"
    process = start(body + "while True: time.sleep(1)")
    stage = int(wait_for(tmp_path / "pid"))
    process.terminate()
    wait_for(tmp_path / "got")
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert is_gone(stage)


def test_a_stage_whose_supervisor_is_killed_is_asked_to_end(start: Start, tmp_path: Path) -> None:
    body = (
        "signal.signal(15, lambda *_: (Path('got').write_text('it'), sys.exit(75)))\nPath('ready').write_text('yes')\n"
    )
    process = start(body + "time.sleep(600)")
    wait_for(tmp_path / "ready")
    process.kill()
    wait_for(tmp_path / "got")
