"""`posttrain run` over real stages: a hang, and a rank that dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.cases import assert_same_run, manifest
from tests.faults.mortal import posttrain

pytestmark = pytest.mark.slow

# At the fifth batch of the first attempt it hangs, and leaves a process behind that has detached itself.
HANGS_ONCE = """\
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.wrong_rewards import even

calls = 0


def hanging(attempt):
    global calls
    calls += 1
    if calls == 8 * 4 + 1 and not Path("hung-in-a-reward").exists():
        daemon = "import os, time; os.setsid(); os.fork() and os._exit(0); time.sleep(600)"
        subprocess.run([sys.executable, "-c", daemon], check=True)
        Path("hung-in-a-reward").touch()
        time.sleep(600)
    return even(attempt)
"""


def start(workplace: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "posttrain", "run", *words],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )


def attempts(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "attempts.jsonl").read_text().splitlines()]


def beat_of(run: Path, step: int) -> dict[str, Any]:
    """The heartbeat of this step or a later one."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        try:
            beat: dict[str, Any] = json.loads((run / "heartbeat.json").read_bytes())
        except (OSError, ValueError):
            beat = {"step": -1}
        if beat["step"] >= step:
            return beat
        time.sleep(0.02)
    raise AssertionError(f"no step {step}")


def daemons() -> list[int]:
    return [process.pid for process in psutil.process_iter() if "os.fork() and os._exit(0)" in str(_words(process))]


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _words(process: psutil.Process) -> list[str]:
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return words


@pytest.mark.fault(13, "hangs in the trainer's own process", stage="rl")
def test_a_hang_is_told_ended_with_all_its_processes_and_gone_on_after(workplace: Path, run_folder: Path) -> None:
    (workplace / "hanging.py").write_text(HANGS_ONCE)
    words = ("rl.yaml", "grading.workers=0", "rewards=[{use: 'hanging:hanging', name: even}]")
    process = start(workplace, "--restarts", "1", "--hang-after", "40", *words, f"run={run_folder.name}")
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said
    first, second = attempts(run_folder)
    assert first["ended"].startswith("hung")
    assert (first["step"], second["step"]) == (4, 8)
    stacks = (run_folder / "stacks-1.txt").read_text()
    assert "hanging.py" in stacks
    assert "in hanging" in stacks
    assert daemons() == []
    whole = run_folder.with_name(f"{run_folder.name}-whole")  # by now the reward does what it should
    ended = posttrain("rl", *words, f"run={whole.name}", cwd=workplace)
    assert ended.code == 0, ended.err
    assert_same_run(run_folder, whole)


@pytest.mark.fault(24, "kill -9 and SIGSTOP of a rank under torchrun", stage="sft")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_job_with_a_dead_or_stopped_rank_ends_soon_and_goes_on_from_its_checkpoint(
    how: signal.Signals, workplace: Path, run_folder: Path
) -> None:
    torchrun = ("--", sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    words = ("sft.yaml", f"run={run_folder.name}", "trainer.max_steps=40", "trainer.save_steps=10")
    process = start(workplace, *words, "--restarts", "2", "--hang-after", "40", *torchrun)
    main_rank = beat_of(run_folder, 12)["pid"]
    (other,) = [
        sibling.pid
        for sibling in psutil.Process(main_rank).parent().children()
        if sibling.pid != main_rank and "posttrain" in str(_words(sibling))
    ]
    os.kill(other, how)
    killed = time.monotonic()
    while is_running(main_rank):
        assert time.monotonic() - killed < 120
        time.sleep(0.1)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    first, second = attempts(run_folder)
    assert 12 <= first["step"] < second["step"] == 40
    assert first["ended"].startswith("hung") == (how == signal.SIGSTOP)
    assert manifest(run_folder)["status"] == "finished"
    whole = workplace / "sft-two-ranks-whole"
    if not whole.exists():
        ended = posttrain("sft", *words[:1], *words[2:], f"run={whole.name}", cwd=workplace, processes=2)
        assert ended.code == 0, ended.err
    assert_same_run(run_folder, whole)


@pytest.mark.fault(17, "SIGTERM to the supervisor", stage="sft")
def test_a_terminated_supervisor_ends_with_a_saved_run(workplace: Path, run_folder: Path) -> None:
    process = start(
        workplace, "sft.yaml", f"run={run_folder.name}", "trainer.max_steps=400", "trainer.num_train_epochs=400"
    )
    beat_of(run_folder, 3)
    process.terminate()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert manifest(run_folder)["status"] == "interrupted"
    assert attempts(run_folder)[0]["ended"] == "ended with exit code 75"
    assert "not started again" not in said
