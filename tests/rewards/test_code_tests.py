import json
import math
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import Verdict, make_attempt
from rewards._code_block import last_code_block
from rewards._code_equal import is_equal, is_same_text
from rewards._code_rows import read_tests
from rewards._sandbox.failure import AnswerError, Cause, SandboxError
from rewards._sandbox.tiers import best_tier
from rewards.code_tests import CodeTests

REWARD = CodeTests(wall_s=60.0)  # the machine may be busy


@pytest.fixture
def sandbox() -> None:
    try:
        best_tier()
    except SandboxError as error:
        pytest.skip(str(error))


def grade(code: str, tests: Any, reward: CodeTests = REWARD) -> Verdict:
    return reward(make_attempt(f"```python\n{code}\n```", {"tests": tests}))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("```python\na\n```", "a\n"),
        ("```\na\n```", "a\n"),
        ("```py\na\n```\nor\n```python3\nb\n```", "b\n"),
        ("```python\na\n```\nIt prints\n```\n6\n```", "a\n"),
        ("```python\na\n```\n```text\n6\n```", "a\n"),
        ("```python\na\n```\n```python\nb", "a\n"),
        ("  ```Python  \n  a\n  ```  ", "  a\n"),
        ("```python\n```", ""),
        ("```python\nx = '''\n```x\n'''\n```", "x = '''\n```x\n'''\n"),
        ("```cpp\na\n```", None),
        ("`a`", None),
        ("```python a```", None),
        ("", None),
    ],
)
def test_the_last_complete_block_of_python_is_the_code(answer: str, code: str | None) -> None:
    assert last_code_block(answer) == code


PAIRS = [
    (1, 1, True),
    (1, True, False),
    (0, False, False),
    (1, 1.0, True),
    (1, "1", False),
    (None, None, True),
    (None, False, False),
    ([1, 2], (1, 2), True),
    ([1, 2], [2, 1], False),
    ([1], [1, 2], False),
    ([True], [1], False),
    ({"a": 1}, {"a": True}, False),
    ({1: "a"}, {"1": "a"}, False),
    ({True: "a"}, {1: "a"}, False),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ({1, 2}, {2, 1}, True),
    ({1}, {True}, False),
    ([1], {1}, False),
    (0.1 + 0.2, 0.3, False),
    (math.nan, math.nan, True),
    (10**400, 1.5, False),
    (10**400, 10**400, True),
]


@pytest.mark.parametrize(("value", "expected", "verdict"), PAIRS)
def test_values_are_equal_with_their_types(value: Any, expected: Any, verdict: bool) -> None:
    assert is_equal(value, expected) is verdict
    assert is_equal(expected, value) is verdict


def test_floats_are_close_only_where_a_tolerance_is_set() -> None:
    assert not is_equal(1.0000001, 1.0)
    assert is_equal([1.0000001, 3e9], [1.0, 3e9 + 1], tolerance=1e-6)
    assert not is_equal(1.1, 1.0, tolerance=1e-6)
    assert not is_equal(10**9, 10**9 + 1, tolerance=1e-6)
    assert not is_equal(10**400, 1.5, tolerance=0.1)


@given(st.lists(st.text("ab \t", max_size=4), max_size=4), st.sampled_from(["", " ", "\n", "\r\n", " \n\n"]))
def test_white_space_at_the_ends_of_lines_does_not_count(lines: list[str], end: str) -> None:
    text = "\n".join(lines)
    assert is_same_text(" \n".join(lines) + end, text)
    assert not is_same_text(f"{text}\nx", text)


def test_the_number_of_lines_counts() -> None:
    assert not is_same_text("1", "1\n2\n3")
    assert not is_same_text("1\n\n2", "1\n2")
    assert not is_same_text("\n1", "1")


DOUBLE = "def double(n): return 2 * n"
PROGRAM = "print(2 * int(input()))"
FORMS = [
    (DOUBLE, {"fn_name": "double", "inputs": [[1], [2]], "outputs": [2, 4]}),
    (DOUBLE, {"fn_name": "double", "inputs": [[1], [2]], "outputs": [[2], [4]]}),
    (DOUBLE, [{"fn_name": "double", "input": [1], "output": 2, "type": "function_call"}]),
    (DOUBLE, [{"input": "1\n", "output": "2", "testtype": "functional", "metadata": {"func_name": "double"}}]),
    ("def add(a, b): return a + b", [{"input": "[1]\n[2]", "output": "[1, 2]", "fn_name": "add"}]),
    (DOUBLE, "[" + json.dumps("assert double(1) == 2") + "]"),
    (DOUBLE, {"check": "assert double(1) == 2"}),
    (DOUBLE, {"check": "def check(candidate):\n    assert candidate(1) == 2", "fn_name": "double"}),
    (DOUBLE, {"check": "assert helper(double(1)) == 3", "setup": "def helper(n): return n + 1"}),
    (PROGRAM, {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]}),
    (PROGRAM, {"fn_name": None, "inputs": [["1", ""]], "outputs": [["2"]]}),
    (PROGRAM, [{"input": "1\n", "output": "2\n"}]),
    (PROGRAM, [{"input": "1", "output": "2", "testtype": "stdin", "metadata": {"func_name": None}}]),
    (PROGRAM, [{"input": "1", "output": "2", "type": "stdin_stdout", "fn_name": "double"}]),
]


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(("code", "tests"), FORMS)
def test_every_form_of_tests_is_read_and_can_be_failed(code: str, tests: Any) -> None:
    as_text = tests if isinstance(tests, str) else json.dumps(tests)
    assert grade(code, tests).score == grade(code, as_text).score == 1.0
    broken = code.replace("2 * ", "3 * ").replace("a + b", "b + a")
    verdict = grade(broken, tests)
    assert (verdict.score, verdict.outcome) == (0.0, False)
    assert "wrong" in verdict.reason


@pytest.mark.parametrize(
    "tests",
    [
        None,
        7,
        "",
        "not JSON",
        [],
        {},
        [1],
        {"inputs": [], "outputs": []},
        {"inputs": ["1"], "outputs": ["1", "2"]},
        {"inputs": ["1"]},
        {"inputs": [1], "outputs": ["1"]},
        {"inputs": ["1"], "outputs": [1]},
        {"inputs": ["1"], "outputs": ["1" * 2**24]},
        {"fn_name": "f", "inputs": [1], "outputs": [1]},
        [{"fn_name": "f", "input": "nope", "output": "1"}],
        [{"fn_name": "f", "input": "1", "output": 1}],
        [{"fn_name": "f", "input": [1], "output": 1}, {"fn_name": "g", "input": [1], "output": 1}],
        {"check": 7},
        {"check": []},
        {"check": "assert f(", "fn_name": "f"},
        ["assert f(\x00)"],
        {"check": "assert f(1)", "setup": 7},
    ],
)
def test_a_row_without_readable_tests_is_not_the_models_fault(tests: Any) -> None:
    verdict = grade("x", tests)
    assert verdict.score is None
    assert verdict.reason.startswith("row['tests']: ")


@pytest.mark.usefixtures("sandbox")
def test_tests_that_pass_a_function_to_the_answer_are_the_rows_fault() -> None:
    verdict = grade("def f(g): return g()", ["assert f(lambda: 1) == 1"])
    assert verdict.score is None
    assert "plain values" in verdict.reason


@pytest.mark.usefixtures("sandbox")
def test_code_tests_see_the_answers_exceptions_and_keep_theirs() -> None:
    tests = ["try:\n    f(-1)\nexcept ValueError as error:\n    assert str(error) == 'no'\nelse:\n    assert False"]
    assert grade("def f(n): raise ValueError('no')", tests).score == 1.0
    assert grade("def f(n): return n", tests).score == 0.0
    verdict = grade("def f(n): raise KeyError('x')", ["assert f(1) == 2"])
    assert "exception: KeyError" in verdict.reason


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    "code",
    [
        "class Any:\n    def __eq__(self, other): return True\ndef f(n): return Any()",
        "import builtins\nbuiltins.AssertionError = None\ndef f(n): return 0",
        "import os\ndef f(n): os._exit(0)",
        "def f(n): raise SystemExit(0)",
        "def f(n): raise AssertionError",
        "def check(candidate): pass\ndef f(n): return 0",
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'[\"done\"]\\n' * 9)\n    except OSError: pass",
    ],
)
def test_tests_in_code_cannot_be_fooled_either(code: str) -> None:
    check = {"check": "def check(candidate):\n    assert candidate(1) == 2", "fn_name": "f"}
    for tests in (check, ["assert f(1) == 2"]):
        assert grade(code, tests).score == 0.0


@pytest.mark.usefixtures("sandbox")
def test_the_setup_of_tests_is_theirs_and_not_the_answers() -> None:
    """HumanEval's prompt defines `poly`, by which its check judges what the answer finds."""
    tests = {"check": "assert poly(f()) == 0", "fn_name": "f", "setup": "def poly(x): return x - 3\ndef f(): ..."}
    assert grade("def poly(x): return 0\ndef f(): return 5", tests).score == 0.0
    assert grade("def f(): return 3", tests).score == 1.0


@pytest.mark.usefixtures("sandbox")
def test_the_fraction_of_tests_is_a_score_and_no_outcome() -> None:
    tests = {"fn_name": "f", "inputs": [[1], [2], [3], [4]], "outputs": [1, 0, 9, 16]}
    verdict = grade("def f(n): return n * n", tests, replace(REWARD, fraction=True))
    assert (verdict.score, verdict.outcome) == (0.75, False)
    assert verdict.reason == "test 2 of 4: wrong: got 4, expected 0"
    ends = grade("import os\ndef f(n): return n * n if n < 3 else os._exit(0)", tests, replace(REWARD, fraction=True))
    assert ends.score == 0.25


@pytest.mark.usefixtures("sandbox")
def test_a_program_that_spoils_its_process_is_judged_in_a_fresh_one() -> None:
    spoils = "import builtins\nif hasattr(builtins, 'seen'): print('again')\nbuiltins.seen = 1\nprint(2 * int(input()))"
    tests = {"inputs": ["1", "2", "3"], "outputs": ["2", "4", "6"]}
    assert grade(spoils, tests).score == 1.0
    assert grade("import os\nprint(2 * int(input()), flush=True)\nos._exit(0)", tests).score == 1.0
    assert grade("print(2)", tests).reason == "test 2 of 3: wrong: got '2\\n', expected '4'"


@pytest.mark.usefixtures("sandbox")
def test_the_prelude_comes_before_the_answer() -> None:
    tests = {"fn_name": "f", "inputs": [[[1]]], "outputs": [1]}
    code = "from __future__ import annotations\nx: List = sqrt(4)\ndef f(a: List[int]) -> int: return a[0]"
    assert grade(code, tests).score == 0.0
    assert grade(code, tests, replace(REWARD, prelude="from typing import *\nfrom math import *")).score == 1.0


def test_only_an_answer_that_had_no_time_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def starve(self: CodeTests, *_: object) -> list[AnswerError | None]:
        calls.append(1)
        return [AnswerError(Cause.TIMEOUT_WALL, "", is_over=True, was_starved=len(calls) == 1)]

    monkeypatch.setattr(CodeTests, "_try", starve)
    row = {"tests": {"fn_name": "f", "inputs": [[1]], "outputs": [1]}}
    assert CodeTests(sandbox="unsafe")(make_attempt("```python\n```", row)).score == 0.0
    assert len(calls) == 2
    assert CodeTests(sandbox="unsafe")(make_attempt("```python\n```", row)).score == 0.0
    assert len(calls) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("sandbox")
def test_all_sandboxes_of_a_verdict_share_its_time() -> None:
    tests = {"inputs": ["1"] * 50, "outputs": ["1"] * 50}
    began = time.monotonic()
    sleeps = "import os, time\ntime.sleep(0.5)\nos.write(1, b'1')\nos._exit(0)"
    verdict = grade(sleeps, tests, CodeTests(cpu_s=1, wall_s=2.0))
    assert "timeout_wall" in verdict.reason
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sandbox": "none"}, "'unsafe'"),
        ({"tolerance": -1.0}, "0 or more"),
        ({"cpu_s": 0}, "cpu_s=0"),
        ({"wall_s": 0.0}, "wall_s=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodeTests(**settings)


def test_numbers_of_free_names_are_what_the_answer_must_define() -> None:
    tests = read_tests(["import math\nx = [g(i) for i in range(3)]\nassert math.isclose(f(x[0]), len(x))"])
    assert tests.names == ["f", "g"]  # type: ignore[union-attr]
