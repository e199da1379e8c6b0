"""`posttrain compare RUN_A RUN_B`: two models, or two modes, on the same questions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape

from posttrain.errors import UserError, did_you_mean
from posttrain.evals.answers import read_answers
from posttrain.evals.metrics import outcomes_by_question
from posttrain.evals.paired import SIGNIFICANCE, Comparison, compare
from posttrain.terminal import say

Records = Sequence[Mapping[str, Any]]


class Side(NamedTuple):
    """One run under one decoding, and what it is called in the verdict."""

    name: str
    records: Records


def compare_runs(first: Path, second: Path, decodings: tuple[str, str] | None = None) -> None:
    """Print who is better at which benchmark under which decoding, and whether that may be chance.

    Args:
        first: the run folder of an evaluation.
        second: of another one, or the same with `decodings`.
        decodings: the names of one of each run to be compared; None: all that both have, each with its namesake.

    Raises:
        UserError: a folder is no evaluation, there is nothing to compare, or the questions are not the same.
    """
    comparisons = 0
    for heading, one, other in _pairs(first, second, decodings):
        say(f"[bold]{escape(heading)}[/bold]")
        for benchmark, comparison in compare_sides(one, other).items():
            comparisons += 1
            say(f"  {escape(benchmark)}: {escape(_in_words(comparison, one, other))}")
    if comparisons > 1:
        say(
            f"[dim]{comparisons} comparisons: where there is no difference, {SIGNIFICANCE:.0%} of them look clear[/dim]"
        )


def compare_sides(first: Side, second: Side) -> dict[str, Comparison | None]:
    """By benchmark that both sides answered; None where no question can be judged on both.

    Raises:
        UserError: there is none, or its questions are not the same.
    """
    asked = [_questions(side.records) for side in (first, second)]
    common = [name for name in asked[0] if name in asked[1]]
    if not common:
        raise UserError(
            f"{first.name} and {second.name} have no benchmark in common: {', '.join(asked[0])} and "
            f"{', '.join(asked[1])}; evaluate both on the same one"
        )
    for name in common:
        _require_same(name, asked[0][name], asked[1][name], first.name, second.name)
    outcomes = [outcomes_by_question(side.records) for side in (first, second)]
    compared: dict[str, Comparison | None] = {}
    for name in common:
        judged = sorted(key for key in outcomes[0].keys() & outcomes[1].keys() if key[0] == name)
        sides = [[side[key] for key in judged] for side in outcomes]
        compared[name] = compare(*sides) if judged else None
    return compared


def _pairs(first: Path, second: Path, decodings: tuple[str, str] | None) -> list[tuple[str, Side, Side]]:
    """What is compared: a heading and the two sides."""
    if first.resolve() == second.resolve() and (decodings is None or decodings[0] == decodings[1]):
        raise UserError(f"{first} twice: it is the same; name two of its decodings with --decodings, or another run")
    answers = [read_answers(run) for run in (first, second)]
    labels = [_label(run) for run in (first, second)]
    if labels[0] == labels[1] and first.resolve() != second.resolve():
        labels = [str(first), str(second)]
    if decodings is None:
        names = [(name, name) for name in answers[0] if name in answers[1]]
        if not names:
            raise UserError(
                f"{first} and {second} have no decoding of the same name: {', '.join(answers[0])} and "
                f"{', '.join(answers[1])}; name one of each with --decodings"
            )
    else:
        names = [decodings]
        for run, name, known in zip((first, second), decodings, answers, strict=True):
            if name not in known:
                near = did_you_mean(name, known)
                raise UserError(f"{run} has no decoding {name!r}{near}; need one of {', '.join(known)}")
    return [
        (
            one if one == other else f"{one} and {other}",
            Side(_name(labels, 0, (one, other)), answers[0][one]),
            Side(_name(labels, 1, (one, other)), answers[1][other]),
        )
        for one, other in names
    ]


def _name(labels: Sequence[str], side: int, decodings: tuple[str, str]) -> str:
    """What tells the side from the other one: its model, its decoding, or both."""
    if decodings[0] == decodings[1]:
        return labels[side]
    decoding = f"'{decodings[side]}'"
    return decoding if labels[0] == labels[1] else f"{labels[side]} ({decoding})"


def _label(run: Path) -> str:
    """What the evaluation calls its model; the folder where it was interrupted before it said so."""
    path = run / "eval.json"
    return str(json.loads(path.read_bytes())["label"]) if path.is_file() else str(run)


def _questions(records: Records) -> dict[str, dict[int, str]]:
    """By benchmark the fingerprint of each question."""
    asked: dict[str, dict[int, str]] = {}
    for record in records:
        asked.setdefault(record["benchmark"], {})[record["question"]] = record["fingerprint"]
    return asked


def _require_same(name: str, one: Mapping[int, str], other: Mapping[int, str], first: str, second: str) -> None:
    if one == other:
        return
    if len(one) != len(other):
        difference = f"{len(one):,} and {len(other):,} of them"
    else:
        difference = f"number {min(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))} differs"
    raise UserError(
        f"{first} and {second} did not answer the same questions of {name} ({difference}); evaluate both on the same "
        "data, all the way through"
    )


def _in_words(comparison: Comparison | None, first: Side, second: Side) -> str:
    if comparison is None:
        return "no question can be called right or wrong on both sides"
    return f"{comparison.first:.1%} and {comparison.second:.1%}: {comparison.verdict(first.name, second.name)}"
