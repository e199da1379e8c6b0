"""A reward that works with the machine says so, in the run's manifest; one that cannot work stops the run."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.grading import GradingPool
from posttrain.recipe import GradingSection, RewardSpec
from posttrain.runs import Run
from rewards import make_attempt
from rewards.code_tests import CodeTests
from rewards.contract import Attempt, Verdict

HERE = "tests.grading.test_descriptions"


@dataclass(frozen=True)
class Describes:
    text: str

    def describe(self) -> dict[str, str]:
        if self.text == "nothing":
            raise RuntimeError("there is no engine here; install one")
        return {"engine": self.text}

    def __call__(self, attempt: Attempt) -> Verdict:
        return Verdict(1.0)


def open_pool(text: str) -> GradingPool:
    specs = [RewardSpec(use=f"{HERE}:Describes", args={"text": text}), RewardSpec(use="rewards.language:language")]
    return GradingPool(specs, GradingSection(workers=0))


def test_a_description_is_said_and_in_the_manifest_before_the_run_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        open_pool("v[8]") as pool,
        Run.start(tmp_path / "run", "eval", "seed: 0\n", 0, [], None, False, is_main=True) as run,
    ):
        pool.introduce(run)
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
        assert manifest["status"] == "running"
        assert manifest["notes"] == {"rewards": {"Describes": {"engine": "v[8]"}}}
    assert capsys.readouterr().out == "  Describes: engine v[8]\n"


def test_other_processes_of_a_launch_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_pool("v8") as pool, Run.start(tmp_path, "eval", "", 0, [], None, False, is_main=False) as run:
        pool.introduce(run)
    assert capsys.readouterr().out == ""


def test_a_reward_that_cannot_work_here_stops_the_run_before_it_starts() -> None:
    with pytest.raises(UserError, match=r"rewards\.0: .*:Describes cannot work on this machine: .*install one"):
        open_pool("nothing")


@pytest.mark.slow
def test_code_is_graded_in_a_pools_workers_and_a_hung_sandbox_ends_with_its_worker() -> None:
    try:
        CodeTests().describe()
    except RuntimeError as error:
        pytest.skip(str(error))
    row = {"tests": {"fn_name": "f", "inputs": [[1]], "outputs": [2]}}
    name = f"ptpool{os.getpid()}"
    sleeps = f"import ctypes, time\nctypes.CDLL(None).prctl(15, b'{name}')\ndef f(n): time.sleep(600)"
    answers = ["def f(n): return 2 * n", "def f(n): return n", sleeps]
    attempts = [make_attempt(f"```python\n{answer}\n```", row) for answer in answers]
    spec = RewardSpec(use="rewards.code_tests:CodeTests", args={"wall_s": 120.0})
    with (
        GradingPool([spec], GradingSection(workers=2, timeout_s=10.0, max_broken_share=1.0)) as pool,
        pytest.warns(UserWarning, match="no verdict within the 10 s"),
    ):
        graded = pool.grade_all(attempts)
    assert [one.outcome for one in graded] == [True, False, None]
    deadline = time.monotonic() + 10  # the kernel kills it when its launcher is gone, which takes a moment
    while _is_alive(name):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(name: str) -> bool:
    """Whether a process or thread of that name runs, whoever is its parent now."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if path.read_text().strip() == name:
                return True
    return False
