from collections.abc import Iterator
from pathlib import Path

import pytest

from rewards import Attempt, make_attempt
from rewards._sandbox import tiers
from rewards._sandbox.failure import SandboxError
from rewards._sandbox.process import Tier
from rewards._sandbox.tiers import best_tier, fault
from rewards.code_tests import CodeTests

ROW = {"tests": {"fn_name": "f", "inputs": [[1]], "outputs": [2]}}
RIGHT = "```python\ndef f(n): return 2 * n\n```"


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    for function in (fault, best_tier):
        function.cache_clear()
    yield
    for function in (fault, best_tier):
        function.cache_clear()


@pytest.fixture
def attempt() -> Attempt:
    return make_attempt(RIGHT, ROW)


def install_bwrap(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_without_isolation_the_probe_gets_through() -> None:
    got_through = fault(Tier.UNSAFE)
    assert got_through is not None
    for what in ("reads files", "writes files", "reaches the network", "starts processes"):
        assert what in got_through


def test_without_bubblewrap_the_second_tier_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attempt: Attempt
) -> None:
    if fault(Tier.LANDLOCK) is not None:
        pytest.skip(f"no Landlock here: {fault(Tier.LANDLOCK)}")
    fault.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not installed" in str(fault(Tier.BUBBLEWRAP))
    assert CodeTests().describe() == {"sandbox": "B: Landlock and seccomp"}
    assert CodeTests()(attempt).score == 1.0


def test_a_bubblewrap_that_isolates_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    skip_to_program = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
    install_bwrap(tmp_path / "bin", skip_to_program, monkeypatch)
    assert "reads files" in str(fault(Tier.BUBBLEWRAP))


def test_a_machine_without_any_tier_is_refused_and_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attempt: Attempt
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("rewards._sandbox.process.ruleset", _no_landlock)
    with pytest.raises(SandboxError, match=r"install bubblewrap.*seccomp=unconfined.*Ubuntu 24\.04"):
        CodeTests().describe()
    with pytest.raises(SandboxError, match="sandbox: unsafe"):
        CodeTests()(attempt)
    assert CodeTests(sandbox="unsafe").describe() == {"sandbox": "unsafe: no isolation"}
    assert CodeTests(sandbox="unsafe")(attempt).score == 1.0


def test_an_unknown_machine_has_no_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewards._sandbox.seccomp.platform.machine", lambda: "riscv64")
    for tier in (Tier.BUBBLEWRAP, Tier.LANDLOCK):
        assert "not for riscv64" in str(fault(tier))


@pytest.mark.parametrize(
    "script",
    [
        "echo 'bwrap: Creating new namespace failed: Operation not permitted' >&2; exit 1",
        "exit 0",
        "echo '[\"done\"]' ; kill -9 $$",
        "exec /nowhere",
    ],
)
def test_a_bubblewrap_that_fails_never_makes_a_right_answer_wrong(
    script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attempt: Attempt
) -> None:
    monkeypatch.setattr("rewards.code_tests.best_tier", lambda: Tier.BUBBLEWRAP)
    install_bwrap(tmp_path / "bin", script, monkeypatch)
    with pytest.raises(SandboxError, match=r"does not start|killed by the machine"):
        CodeTests()(attempt)


def test_a_sandbox_that_fails_once_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attempt: Attempt
) -> None:
    real = tiers.Path("/usr/bin/bwrap")
    if fault(Tier.BUBBLEWRAP) is not None:
        pytest.skip(f"no bubblewrap here: {fault(Tier.BUBBLEWRAP)}")
    flag = tmp_path / "failed"
    script = f'if [ ! -e {flag} ]; then : > {flag}; exit 1; fi; exec {real} "$@"'
    install_bwrap(tmp_path / "bin", script, monkeypatch)
    assert CodeTests()(attempt).score == 1.0
    assert flag.exists()


def _no_landlock(_: Path) -> None:
    raise OSError("no Landlock")
