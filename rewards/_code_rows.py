"""The tests of a row, in the forms that the field's datasets have; see `code_tests`."""

import ast
import builtins
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Calls:
    """Call a function, compare what it returns."""

    name: str
    arguments: list[list[Any]]
    expected: list[Any]

    @property
    def number(self) -> int:
        """How many tests there are."""
        return len(self.expected)


@dataclass(frozen=True, slots=True)
class Programs:
    """Run a program, compare what it prints."""

    inputs: list[str]
    expected: list[str]

    @property
    def number(self) -> int:
        """How many tests there are."""
        return len(self.expected)


@dataclass(frozen=True, slots=True)
class Checks:
    """Run tests that are code, each a source; `names` are what they take from the answer."""

    sources: list[str]
    setup: str
    names: list[str]
    entry: str | None

    @property
    def number(self) -> int:
        """How many tests there are."""
        return len(self.sources)


Tests = Calls | Programs | Checks


def read_tests(tests: Any) -> Tests:
    """The tests of a row, whatever their form.

    Raises:
        ValueError: what is wrong with them.
    """
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except ValueError as error:
            raise ValueError(f"a string that is not JSON ({error})") from error
    if isinstance(tests, Sequence) and tests and all(isinstance(test, str) for test in tests):
        return _checks({"check": tests})
    if isinstance(tests, Sequence) and tests and all(isinstance(test, Mapping) for test in tests):
        names = {_name(test) for test in tests}
        if len(names) > 1:
            raise ValueError(f"got tests of {len(names)} functions, need tests of one, or of none")
        inputs, outputs = ([test.get(key) for test in tests] for key in ("input", "output"))
        return _cases(names.pop(), inputs, outputs)
    if isinstance(tests, Mapping):
        if "check" in tests:
            return _checks(tests)
        return _cases(_name(tests), tests.get("inputs"), tests.get("outputs"))
    raise ValueError(f"got {type(tests).__name__}, need test cases (see rewards.code_tests)")


def _name(test: Mapping[str, Any]) -> str | None:
    """The function to call, None for a program."""
    if test.get("type", test.get("testtype")) in ("stdin", "stdin_stdout"):
        return None
    return test.get("fn_name") or (test.get("metadata") or {}).get("func_name")


def _cases(name: str | None, inputs: Any, outputs: Any) -> Calls | Programs:
    if not (isinstance(inputs, list) and isinstance(outputs, list) and len(inputs) == len(outputs) and inputs):
        raise ValueError("need as many inputs as outputs, and at least one")
    if name is None:
        return Programs([_text(one) for one in inputs], [_text(one) for one in outputs])
    arguments: list[list[Any]] = []
    expected: list[Any] = []
    for given, result in zip(inputs, outputs, strict=True):
        if isinstance(given, str):  # LiveCodeBench: an argument a line, and a result, in JSON
            arguments.append([_json(line) for line in given.splitlines() if line.strip()])
            expected.append(_json(result))
        elif isinstance(given, list):
            arguments.append(given)
            expected.append(result)
        else:
            raise ValueError(f"got arguments of type {type(given).__name__}, need a list")
    is_text = isinstance(inputs[0], str)
    if not is_text and all(
        isinstance(result, list) and len(result) == 1 for result in expected
    ):  # maybe APPS wraps them
        return Calls(name, arguments, [OneOf((result, result[0])) for result in expected])
    return Calls(name, arguments, expected)


class OneOf(tuple[Any, ...]):
    """Several results, each of which is right."""

    __slots__ = ()


def _text(lines: Any) -> str:
    if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
        return "\n".join(lines)
    if not isinstance(lines, str):
        raise ValueError(f"got a program's input or output of type {type(lines).__name__}, need text")
    return lines


def _json(text: Any) -> Any:
    if not isinstance(text, str):
        raise ValueError(f"got {type(text).__name__} beside arguments in text, need JSON")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"got an argument or a result that is not JSON ({error})") from error


def _checks(tests: Mapping[str, Any]) -> Checks:
    check, setup, entry = tests["check"], tests.get("setup", ""), tests.get("fn_name")
    sources = [check] if isinstance(check, str) else check
    if not (isinstance(sources, list) and sources and all(isinstance(part, str) for part in [setup, *sources])):
        raise ValueError("need `check` as code or a list of asserts, and `setup`, if there is one, as code")
    try:
        names = sorted(set().union(*(_free_names(f"{setup}\n{source}") for source in sources)))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(f"tests that are not Python ({error})") from error
    if entry is not None and entry not in names:
        names.append(entry)
    return Checks(sources, setup, names, entry)


def _free_names(source: str) -> set[str]:
    """What the code uses and defines nowhere."""
    used: set[str] = set()
    defined = set(dir(builtins))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.alias):
            defined.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            defined.add(node.name)
    return used - defined
