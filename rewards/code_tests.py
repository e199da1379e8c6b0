r"""Does the code in the answer pass the tests of its row?

The last code block of the answer is run, in a sandbox (`_sandbox`). It never meets an expected result: inputs go in,
plain values come out and are compared here. So an answer can end its process, patch what it finds, or print that it
has passed; it gains nothing by it.

`row["tests"]` is one of these, or one of these as JSON text:

- programs: `{"inputs": ["3\n", ...], "outputs": ["6\n", ...]}` (APPS, TACO, DeepCoder), what they read and print. The
  same lines in the same number are equal, but for white space at their ends and at the very end.
- calls: `{"fn_name": "double", "inputs": [[3], ...], "outputs": [6, ...]}`, a list of arguments and a result each, also
  for a method of `class Solution`. Plain values of the same types are equal: True is not 1; 2 is 2.0; a tuple is a list
  of the same items, since JSON has no tuples; keys of a dictionary are strings, as in JSON. Where all results of a row
  are lists of one item, that item alone is right too (APPS wraps them).
- a list of `{"input": ..., "output": ...}`, for programs or, with `fn_name` or `metadata.func_name`, for calls; input
  that is text then has an argument a line, in JSON, and the output is JSON (LiveCodeBench).
- code: `{"check": "def check(candidate): ...", "fn_name": "double", "setup": ""}` (HumanEval), or a list of asserts,
  alone or as `check` (MBPP). It runs in a sandbox of its own where the names that it uses and does not define stand
  for the answer's: arguments and results are copied from one to the other and must be plain values (None, bool, int,
  float, str, list, tuple, set, dict). `setup` is code of the tests' own, such as HumanEval's prompt.

How long it takes: all tests of a row share one `wall_s`, and are tried a second time where the sandbox broke, or where
the machine was so busy that the answer ran out of time without having had it. So a verdict takes at most twice
`wall_s`: keep that below `grading.timeout_s` of the recipe, which is for all rewards of an attempt together.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewards._code_block import last_code_block
from rewards._code_rows import Programs, Tests, read_tests
from rewards._code_runs import BrokenTestsError, Run
from rewards._printable import printable
from rewards._sandbox.failure import AnswerError, SandboxError
from rewards._sandbox.limits import Limits
from rewards._sandbox.process import Tier
from rewards._sandbox.tiers import best_tier
from rewards.contract import Attempt, Case, Reward, Verdict

_LONGEST_CODE = 2**18  # characters
_LOGGED_CODE = 4_000


SEES = ("answer", "is_truncated", "row")


@dataclass(frozen=True)
class CodeTests:
    """Score 1 when the answer's code passes all tests of the row, else 0.

    Isolated by bubblewrap and seccomp or, where that cannot be, by Landlock and seccomp: no network, no other process,
    nothing to read but the interpreter and the system's libraries, one folder to write to. No package but the standard
    library can be imported. The kernel is shared, so this is no defence against somebody who has a hole in it.

    Attributes:
        cpu_s: CPU seconds for all tests of a row together, in each process that they need: one, as a rule.
        wall_s: seconds for all of them; three times `cpu_s`, or a busy machine makes right answers wrong.
        memory_mb: MiB of memory.
        file_mb: MiB of the largest file, and of what a program prints; all files together twice as much.
        fraction: the score is the share of tests that pass, 0 for those after the end of the process; the outcome
            still says whether all do.
        tolerance: by how much floats that are returned may differ, absolute or relative.
        prelude: Python that runs before every answer, such as "from typing import *".
        sandbox: "auto", or "unsafe" to run the answers with the limits but without any isolation: they can read your
            files, use your network and kill your processes.

    Raises:
        ValueError: a setting makes no sense.
    """

    cpu_s: int = 4
    wall_s: float = 12.0
    memory_mb: int = 1024
    file_mb: int = 8
    fraction: bool = False
    tolerance: float = 0.0
    prelude: str = ""
    sandbox: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        if self.sandbox not in ("auto", "unsafe"):
            raise ValueError(
                f"CodeTests got sandbox={self.sandbox!r}: it is 'auto', or 'unsafe' to run the model's code without "
                "any isolation"
            )
        if self.tolerance < 0:
            raise ValueError(f"CodeTests got tolerance={self.tolerance}: it is 0 or more")
        _ = self._limits

    def describe(self) -> Mapping[str, str]:
        """How answers are isolated on this machine.

        Raises:
            SandboxError: this machine gives no isolation; what to do about it.
        """
        return {"sandbox": self._tier().value}

    def __call__(self, attempt: Attempt) -> Verdict:
        """Run the answer's last code block against `row["tests"]`.

        Returns:
            Score and outcome; which test fails, and how. Score None when the row has no tests that can be run.

        Raises:
            SandboxError: the sandbox broke, twice: nothing is known about the answer.
        """
        try:
            tests = read_tests(attempt.row.get("tests"))
            self._require_printable(tests)
        except ValueError as error:
            return Verdict(None, reason=printable(f"row['tests']: {error}", None))
        code = last_code_block(attempt.answer)
        if code is None:
            return Verdict(0.0, outcome=False, reason="truncated" if attempt.is_truncated else "no code block")
        extracted = printable(code, _LOGGED_CODE)
        if len(code) > _LONGEST_CODE:
            return Verdict(0.0, outcome=False, extracted=extracted, reason="the code is absurdly long")
        try:
            results = self._grade(code, tests)
        except BrokenTestsError as error:
            return Verdict(None, extracted=extracted, reason=printable(f"row['tests']: {error}", None))
        total = tests.number
        failed = next(((number, one) for number, one in enumerate(results, start=1) if one is not None), None)
        if failed is None:
            return Verdict(1.0, outcome=True, extracted=extracted)
        number, failure = failed
        score = results.count(None) / total if self.fraction else 0.0
        reason = printable(f"test {number} of {total}: {failure.cause}: {failure.detail}", None)
        return Verdict(score, outcome=False, extracted=extracted, reason=reason)

    @property
    def _limits(self) -> Limits:
        return Limits(self.cpu_s, self.wall_s, self.memory_mb, self.file_mb)

    def _tier(self) -> Tier:
        return Tier.UNSAFE if self.sandbox == "unsafe" else best_tier()

    def _require_printable(self, tests: Tests) -> None:
        longest = max(map(len, tests.expected)) if isinstance(tests, Programs) else 0
        if longest > self.file_mb * 2**20:
            raise ValueError(f"an expected output of {longest:,} characters needs a larger file_mb than {self.file_mb}")

    def _grade(self, code: str, tests: Tests) -> list[AnswerError | None]:
        """What becomes of the tests, up to the first that fails unless all count."""
        tier = self._tier()
        try:
            results = self._try(tier, code, tests)
        except SandboxError:
            return self._try(tier, code, tests)
        is_starved = any(one is not None and one.was_starved for one in results)
        return self._try(tier, code, tests) if is_starved else results

    def _try(self, tier: Tier, code: str, tests: Tests) -> list[AnswerError | None]:
        run = Run(tier, self._limits, time.monotonic() + self.wall_s, (self.prelude, code), self.tolerance)
        results = []
        for result in run.results(tests):
            results.append(result)
            if result is not None and not self.fraction:
                break
        return results


def gold_answer(row: Mapping[str, Any]) -> str | None:
    """The row's own `solution`, a text, in a code block."""
    solution = row.get("solution")
    return f"```python\n{solution}\n```" if isinstance(solution, str) else None


EXAMPLE: Reward = CodeTests()


def _code(source: str) -> str:
    return f"Here it is:\n\n```python\n{source}\n```\nIt works."


_DOUBLE = {"tests": {"fn_name": "double", "inputs": [[0], [3], [-7]], "outputs": [0, 6, -14]}}
_PROGRAM = {"tests": {"inputs": ["3\n", "-7\n"], "outputs": ["6\n", "-14\n"]}}
_ASSERTS = {"tests": ["assert double(3) == 6", "assert abs(double(0.1) - 0.2) < 1e-6"]}
_CHECK = {"tests": {"fn_name": "double", "check": "def check(candidate):\n    assert candidate(3) == 6"}}
CASES: list[Case] = [
    (_code("def double(n):\n    return 2 * n"), _DOUBLE, 1.0),
    (_code("def double(n):\n    return n + 3"), _DOUBLE, 0.0),
    (_code("class Solution:\n    def double(self, n):\n        return 2 * n"), _DOUBLE, 1.0),
    (_code("def twice(n):\n    return 2 * n"), _DOUBLE, 0.0),
    (_code("print(2 * int(input()))"), _PROGRAM, 1.0),
    (_code("print(6)\nprint(-14)"), _PROGRAM, 0.0),
    (_code("def double(n):\n    return 2 * n"), _ASSERTS, 1.0),
    (_code("def double(n):\n    return int(2 * n)"), _ASSERTS, 0.0),
    (_code("def double(n):\n    return 2 * n"), _CHECK, 1.0),
    (_code("import os\nos._exit(0)"), _CHECK, 0.0),
    (_code("def double(n)"), _DOUBLE, 0.0),
    (_code("\x00"), _DOUBLE, 0.0),
    ("def double(n): return 2 * n", _DOUBLE, 0.0),
    ({"answer": "```python\ndef double", "is_truncated": True}, _DOUBLE, 0.0),
    ("", _DOUBLE, 0.0),
    (_code("pass"), {}, None),
    (_code("pass"), {"tests": {"inputs": ["1"], "outputs": []}}, None),
    (_code("pass"), {"tests": ["assert ("]}, None),
]
