"""The table that the fault tests end in."""

from pathlib import Path

import pytest

from tests.fault_table import FaultTable

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.fault(2, "killed while files are written", stage="sft")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_kill(n):
    assert n != 3

@pytest.mark.fault(1, "killed", stage="rl")
@pytest.mark.fault(1, "killed", stage="sft")
def test_both():
    pass

@pytest.mark.fault(26, "mounted read-only", stage="all")
def test_mount():
    pytest.skip("no mount here")

def test_without_a_fault():
    raise AssertionError
"""


@pytest.mark.parametrize("processes", [(), ("-n", "2")])
def test_marked_tests_are_chosen_and_end_in_a_table(processes: tuple[str, ...], pytester: pytest.Pytester) -> None:
    root = Path(__file__).parents[2]
    pytester.makepyprojecttoml((root / "pyproject.toml").read_text())
    pytester.makeconftest('pytest_plugins = ["tests.fault_table"]')
    pytester.makepyfile(TESTS)
    words = ("-m", "faults", "-c", f"{root}/pyproject.toml", "--fault-table=table.md", *processes, ".")
    done = pytester.runpytest_subprocess(*words)
    done.assert_outcomes(passed=3, failed=1, skipped=1, deselected=0 if processes else 1)
    done.stdout.re_match_lines([r"#  +fault .*sft .*rl .*all", r"1  +kill -9 in a step +ok 1 +ok 1", r"2 .*FAILED 1/3"])
    lines = (pytester.path / "table.md").read_text().splitlines()
    assert lines[0] == "| # | fault | sft | rl | all | plain transformers and TRL |"
    assert lines[3].startswith("| 2 | kill -9 while a checkpoint is written | FAILED 1/3 |  |  | half a checkpoint")
    assert "| skipped |" in lines[4]


def test_a_stage_without_a_test_of_a_fault_has_no_verdict() -> None:
    table = FaultTable()
    table.add(1, "sft", "passed")
    table.add(3, "rl", "passed")
    assert [row[2:4] for row in table.rows()[1:]] == [["ok 1", ""], ["", "ok 1"]]


def test_a_stage_that_a_fault_cannot_hit_is_told_from_one_without_a_test() -> None:
    table = FaultTable()
    table.add(9, "sft", "passed")
    table.add(1, "rl", "passed")
    table.add(1, "eval", "passed")
    assert [row[2:5] for row in table.rows()[1:]] == [["", "ok 1", "ok 1"], ["ok 1", "", "–"]]
