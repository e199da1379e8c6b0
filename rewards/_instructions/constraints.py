"""From the columns of a row to constraints: which checker, with which arguments, and what is wrong with them."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin

from rewards._instructions import CHECKERS
from rewards.language import KNOWN_LANGUAGES


class Constraint(NamedTuple):
    """One thing that the answer must keep to."""

    id: str
    check: Callable[..., str]
    arguments: Mapping[str, Any]

    def fault(self, text: str) -> str:
        """What is wrong with a text, "" when the constraint holds."""
        return self.check(text, **self.arguments)


def read_constraints(row: Mapping[str, Any]) -> tuple[list[Constraint], list[str]]:
    """The constraints of a row, all of them and in order, and what is wrong with its columns.

    Raises:
        ValueError: an id that no checker is known for. To leave it out would pass every answer.
    """
    ids, kwargs = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(ids, list) or not ids:
        return [], ["row['instruction_id_list'] is needed: a list of ids"]
    for name in ids:
        if name not in CHECKERS:
            near = difflib.get_close_matches(str(name), CHECKERS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown instruction id {name!r}; {hint}known are {', '.join(CHECKERS)}")
    if not isinstance(kwargs, list) or len(kwargs) != len(ids):
        found = f"{len(kwargs)} entries" if isinstance(kwargs, list) else type(kwargs).__name__
        return [], [f"row['kwargs'] has {found}, need a list with one entry for each of the {len(ids)} ids"]
    constraints, faults = [], []
    for name, given in zip(ids, kwargs, strict=True):
        if not isinstance(given, Mapping | None):
            faults.append(f"{name}: its kwargs are a {type(given).__name__}, need an object")
            continue
        # Tables give every entry all arguments that there are, null where they were absent.
        arguments = {key: _number(value) for key, value in (given or {}).items() if value is not None}
        faults += [f"{name}: {fault}" for fault in _faults(CHECKERS[name], arguments)]
        constraints.append(Constraint(name, CHECKERS[name], arguments))
    return constraints, faults


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _faults(check: Callable[..., str], arguments: Mapping[str, Any]) -> list[str]:
    wanted = {name: each.annotation for name, each in inspect.signature(check).parameters.items() if name != "text"}
    faults = [f"{name} is missing" for name in wanted if name not in arguments]
    for name, value in arguments.items():
        if name not in wanted:
            faults.append(f"takes no {name}")
        elif need := _need(name, wanted[name], value):
            faults.append(f"{name} is {value!r}, need {need}")
    return faults


def _need(name: str, annotation: Any, value: Any) -> str:
    """What an argument must be, "" if it is that."""
    if get_origin(annotation) is Literal:
        return "" if value in get_args(annotation) else " or ".join(map(repr, get_args(annotation)))
    if annotation is int:
        return "" if type(value) is int and value > 0 else "a positive whole number"
    if annotation is str:
        if not isinstance(value, str) or not value.strip():
            return "text"
        if name == "letter" and len(value.strip()) != 1:
            return "one character"
        return f"one of {', '.join(KNOWN_LANGUAGES)}" if name == "language" and value not in KNOWN_LANGUAGES else ""
    is_list = isinstance(value, list) and value and all(isinstance(each, str) and each.strip() for each in value)
    return "" if is_list else "a list of words"
