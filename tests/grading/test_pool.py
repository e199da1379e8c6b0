"""Rewards that go wrong in real worker processes: nothing hangs, dies or becomes a 0, and nobody stays behind."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from posttrain.errors import UserError
from posttrain.grading import Graded, GradingPool
from posttrain.grading.broken import BrokenVerdict
from posttrain.grading.pool import default_workers
from posttrain.recipe import GradingSection, RewardSpec
from rewards.contract import Attempt, Verdict, make_attempt

BAD = "tests.grading.bad_rewards"
ROOT = Path(__file__).parents[2]
SOON = {"timeout_s": 0.5}


def reward(function: str, **spec: Any) -> RewardSpec:
    return RewardSpec(use=f"{BAD}:{function}", **spec)


def open_pool(*specs: RewardSpec, workers: int = 2, **section: Any) -> GradingPool:
    settings = {"max_broken_share": 1.0} | section
    return GradingPool(specs or [reward("bad"), reward("fine")], GradingSection(workers=workers, **settings))


def attempts(*answers: str) -> list[Attempt]:
    return [make_attempt(answer, {"answer": "7"}) for answer in answers]


def children() -> list[psutil.Process]:
    return [process for process in psutil.Process().children(recursive=True) if "grading.worker" in words(process)]


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture(autouse=True)
def _nobody_stays_behind() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="reward ")
        yield
    assert children() == []


def is_unscorable(graded: Graded) -> bool:
    return graded.reward is None and graded.outcome is None


# --- rewards that break ---


DEEDS = ("raise it", "sys.exit", "float", "none", "nan", "text", "outcome", "extracted")


def test_reward_that_raises_or_returns_no_verdict_breaks_alone_and_as_it_would_here() -> None:
    batch = attempts("fine", *DEEDS, "fine")
    with open_pool() as pool, open_pool(workers=0) as here:
        graded = pool.grade_all(batch)
        assert graded == here.grade_all(batch)
        assert pool.broken == here.broken == {"bad": {"raised": 4, "no_verdict": 4}}
    reasons = dict(zip(DEEDS, (one.verdicts["bad"].reason for one in graded[1:-1]), strict=True))
    assert reasons["raise it"] == "raised ZeroDivisionError: it"
    assert reasons["sys.exit"] == "raised SystemExit"
    assert reasons["float"] == "returned float, need rewards.Verdict"
    assert reasons["none"] == "returned NoneType, need rewards.Verdict"
    assert "returned the score nan (float): a score is a number from 0 to 1" in reasons["nan"]
    assert "returned the score '1' (str)" in reasons["text"]
    assert reasons["outcome"] == "returned an outcome of type str, need True, False or None"
    assert reasons["extracted"] == "returned `extracted` of type int, need text"
    for one in graded[1:-1]:
        assert isinstance(one.verdicts["bad"], BrokenVerdict)
        assert is_unscorable(one)
        assert one.verdicts["fine"].score == 0.5
    for one in (graded[0], graded[-1]):
        assert (one.reward, one.outcome, one.broken) == (1.5, True, {})
    trace = graded[DEEDS.index("nan") + 1].verdicts["bad"].trace  # type: ignore[attr-defined]
    assert f"{ROOT}/tests/grading/bad_rewards.py:" in trace


def test_rewards_for_trl_take_the_same_way() -> None:
    with open_pool(reward("bad_trl", style="trl"), workers=1) as pool:
        fine, none, *broken = pool.grade_all(
            attempts("fine", "none-list", "nan-list", "text-list", "two-list", "raise it", "float", "os._exit")
        )
    assert (fine.reward, none.reward, none.broken) == (2.5, None, {})
    assert all(one.reward is None and list(one.broken) == ["bad_trl"] for one in broken)


@pytest.mark.fault(13, "sleeps, spins, stops", stage="all")
def test_reward_that_hangs_costs_its_own_attempt_only() -> None:
    batch = attempts("fine", "sleep", "fine", "spin", "match", "fine")
    with open_pool(reward("fine", name="before"), reward("bad"), reward("fine"), **SOON) as pool:
        began = time.monotonic()
        graded = pool.grade_all(batch)
        assert time.monotonic() - began < 10
        assert pool.grade_all(attempts("fine"))[0].reward == 2.0
    for index in (1, 3, 4):
        assert is_unscorable(graded[index])
        reason = "gave no verdict within the 0.5 s of an attempt"
        assert [verdict.reason for verdict in graded[index].verdicts.values()] == [
            batch[index].answer,
            reason,
            f"not run: 'bad' {reason}",
        ]
        assert list(graded[index].broken) == ["bad"]
    assert [graded[index].reward for index in (0, 2, 5)] == [2.0] * 3


def test_time_limit_is_for_an_attempt_and_not_for_a_chunk() -> None:
    batch = attempts(*(f"nap {number}" for number in range(16)))  # 0.8 s
    with open_pool(workers=1, **SOON) as pool:
        assert [one.reward for one in pool.grade_all(batch)] == [1.5] * 16


def test_what_a_hung_reward_has_started_ends_with_it(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    with open_pool(workers=1, **SOON) as pool:
        assert is_unscorable(pool.grade_all(attempts(f"with-child {marker}"))[0])
    assert is_gone(int(marker.read_text()))


@pytest.mark.fault(15, "ends, is killed", stage="all")
def test_worker_that_dies_is_replaced_and_its_attempt_tried_once_more(tmp_path: Path) -> None:
    batch = attempts("fine", "os._exit", "fine", f"die-once {tmp_path / 'marker'}", "kill", "fine")
    with open_pool() as pool:
        graded = pool.grade_all(batch)
        assert pool.broken == {"bad": {"died": 2}}
    assert [one.reward for one in graded] == [1.5, None, 1.5, 1.5, None, 1.5]
    assert [one.outcome for one in graded] == [True, None, True, True, None, True]
    assert graded[1].verdicts["bad"].reason == "ended its process twice, the last time with exit code 3"
    assert graded[4].verdicts["bad"].reason == "ended its process twice, the last time by SIGKILL"


def test_death_of_idle_workers_is_no_attempts_fault() -> None:
    with open_pool(workers=3) as pool:
        pool.grade_all(attempts("nap 1", "nap 2", "nap 3"))
        workers = children()
        for worker in workers:
            worker.kill()
        assert all(is_gone(worker.pid) for worker in workers)
        assert pool.grade_all(attempts("fine"))[0].reward == 1.5


@pytest.mark.fault(15, "is killed while it starts", stage="all")
def test_worker_that_dies_while_it_starts_is_replaced_where_the_rewards_have_been_loaded_before() -> None:
    with open_pool(workers=2) as pool:
        pool.grade_all(attempts("fine"))
        (first,) = children()

        def kill_the_second() -> None:
            while not (others := [each for each in children() if each.pid != first.pid]):
                time.sleep(0.01)
            others[0].kill()

        killer = threading.Thread(target=kill_the_second, daemon=True)
        killer.start()
        graded = pool.grade_all(attempts(*(f"nap {number}" for number in range(64))))
        killer.join(timeout=10)
        assert not killer.is_alive()
        assert pool.grade_all(attempts("fine", "fine"))[1].reward == 1.5
    assert [one.reward for one in graded] == [1.5] * 64


@pytest.mark.fault(13, "its worker is stopped", stage="all")
def test_worker_that_is_stopped_does_not_stop_the_pool() -> None:
    """Also where an attempt is larger than what the socket holds."""
    with open_pool(workers=1, **SOON) as pool:
        pool.grade_all(attempts("fine"))
        children()[0].send_signal(signal.SIGSTOP)
        graded = pool.grade_all(attempts("fine " * 500_000, "fine"))
        assert [one.reward for one in graded] == [None, 1.5]


# --- order and workers ---


def test_results_depend_neither_on_the_number_of_workers_nor_on_who_is_first() -> None:
    batch = [
        make_attempt(answer, {"answer": "7", "domain": "math" if index % 3 else "law"})
        for index, answer in enumerate(["nap", *(f"fine {number}" for number in range(200)), "raise it"])
    ]
    specs = [reward("bad", when={"domain": ["math"]}), reward("fine", weight=0.5, when={"domain": ["math"]})]
    graded = []
    for workers in (0, 1, 5):
        with open_pool(*specs, workers=workers) as pool:
            graded.append(pool.grade_all(batch))
    assert graded[0] == graded[1] == graded[2]
    assert [one.verdicts["fine"].reason for one in graded[0] if one.verdicts] == [
        attempt.answer for attempt in batch if attempt.row["domain"] == "math"
    ]
    assert all(one == (None, None, {}) for one in graded[0][::3])


def test_nothing_to_grade_starts_nothing() -> None:
    with open_pool(reward("bad", when={"domain": ["math"]})) as pool:
        assert pool.grade_all([]) == []
        assert pool.grade_all(attempts("fine")) == [Graded(None, None, {})]
        assert children() == []


def test_workers_are_light_have_one_thread_and_leave_interruptions_to_the_parent() -> None:
    import torch  # noqa: F401  the parent holds what it likes

    with open_pool(reward("modules"), workers=1) as pool:
        assert pool.grade_all(attempts("x"))[0].verdicts["modules"].reason == "[] 1 True"


def test_workers_stay_for_the_next_batch() -> None:
    with open_pool(reward("process"), workers=1) as pool:
        first, second = (pool.grade_all(attempts("x", "y")) for _ in range(2))
    assert len({one.verdicts["process"].reason for one in (*first, *second)}) == 1


def test_default_is_half_of_the_cores_shared_between_the_processes_of_a_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert default_workers() == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert default_workers() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert default_workers() == 1


# --- errors ---


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_broken_attempts_stop_the_run(workers: int) -> None:
    batch = attempts(*["fine"] * 30, "raise it", "fine", "float", *["fine"] * 7)
    with open_pool(workers=workers, max_broken_share=0.05) as pool:
        assert [bool(one.broken) for one in pool.grade_all(batch)].count(True) == 2
        with pytest.raises(UserError) as caught:
            pool.grade_all([*batch[:-1], *attempts("raise again")])
        assert pool.grade_all(attempts(*["fine"] * 20))[0].reward == 1.5  # the pool is still good
    message = str(caught.value)
    assert message.startswith("rewards broke on 3 of the last 40 attempts ('bad' 3 times), need at most 0.05 of them")
    assert "first 'bad': raised ZeroDivisionError: it at /" in message
    assert "in _raise: raise ZeroDivisionError(detail); mend the reward" in message


def test_first_failure_of_a_reward_is_said_once() -> None:
    with open_pool(workers=1) as pool, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pool.grade_all(attempts("raise it", "raise it"))
        pool.grade_all(attempts("none"))
    assert [str(one.message).partition(";")[0] for one in caught] == ["reward 'bad' raised ZeroDivisionError: it"]
    assert caught[0].filename == __file__


def test_reward_that_only_this_process_knows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mine")
    module.good = lambda _: Verdict(1.0)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", module)
    spec = RewardSpec(use="mine:good")
    with open_pool(spec) as pool, pytest.raises(UserError, match=r"in a grading worker: rewards\.0\.use: got 'mine"):
        pool.grade_all(attempts("x"))
    with open_pool(spec, workers=0) as pool:
        assert pool.grade_all(attempts("x"))[0].reward == 1.0


def test_worker_that_dies_at_loading_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dies_in_workers.py").write_text(
        f"import os\nif os.getpid() != {os.getpid()}:\n    os._exit(4)\ndef grade(attempt): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with (
        open_pool(RewardSpec(use="dies_in_workers:grade")) as pool,
        pytest.raises(UserError, match="it ended with exit code 4"),
    ):
        pool.grade_all(attempts("x"))


def test_closed_pool_grades_no_more() -> None:
    pool = open_pool()
    pool.close()
    pool.close()
    with pytest.raises(ValueError, match="closed"):
        pool.grade_all(attempts("x"))


# --- no process is left behind (the fixture above looks after every test) ---


def test_pool_that_nobody_closed_ends_with_its_last_reference() -> None:
    pool = open_pool(workers=1)
    pool.grade_all(attempts("fine"))
    assert len(children()) == 1
    del pool


def test_error_in_the_parent_leaves_nobody() -> None:
    def fail() -> None:
        with open_pool() as pool:
            pool.grade_all(attempts("fine", "fine"))
            raise RuntimeError("elsewhere")

    with pytest.raises(RuntimeError, match="elsewhere"):
        fail()


SCRIPT = f"""
from posttrain.grading import GradingPool
from posttrain.recipe import GradingSection, RewardSpec
from rewards.contract import make_attempt

specs = [RewardSpec(use="{BAD}:bad")]
with GradingPool(specs, GradingSection(workers=3, timeout_s=100.0)) as pool:
    pool.grade_all([make_attempt("fine", {{}})])
    print("ready", flush=True)
    pool.grade_all([make_attempt(deed, {{}}) for deed in ("sleep", "spin", "match")])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_end_of_the_parent_is_the_end_of_workers_that_hang(how: signal.Signals) -> None:
    """SIGKILL and SIGTERM leave the parent no time for anything; ^C goes to its whole group, the workers aside."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        workers = wait_for_busy(parent.pid, 3)
        os.killpg(parent.pid, how)
        _, err = parent.communicate(timeout=20)
    assert err.strip().endswith("KeyboardInterrupt" if how == signal.SIGINT else "")
    assert all(is_gone(pid) for pid in workers)


def wait_for_busy(pid: int, num_workers: int) -> list[int]:
    """The numbers of its workers, once they are loaded and at work (two of them spin)."""
    for _ in range(1000):
        workers = psutil.Process(pid).children()
        if len(workers) == num_workers and sum(worker.cpu_times().user > 0.4 for worker in workers) >= 2:
            return [worker.pid for worker in workers]
        time.sleep(0.02)
    raise AssertionError(f"no {num_workers} workers")


def is_gone(pid: int) -> bool:
    """Within five seconds; a zombie that nobody has collected yet is gone."""
    for _ in range(250):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False
