"""What `eval.json` says, as plain values: intervals by decoding, group and benchmark, and the budget curves."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# What the page says of a decoding.
SETTINGS: tuple[str, ...] = ("temperature", "top_p", "samples", "max_new_tokens", "thinking_budget")
COUNTS = ("n", "questions", "unscorable")  # the numbers of a cell that do not say where it is

Row = dict[str, Any]


class Interval(NamedTuple):
    """A mean with its 95 % interval; shares lie in [0, 1], lengths are tokens, latencies seconds."""

    mean: float
    low: float
    high: float

    def is_apart_from(self, other: "Interval") -> bool:
        """Whether the two intervals share no point."""
        return self.low > other.high or other.low > self.high


@dataclass(frozen=True, slots=True)
class Group:
    """The measurements over one group of answers, such as all of them or those to questions of one language."""

    num_answers: int
    metrics: Mapping[str, Interval]


class Cell(NamedTuple):
    """One cell of a benchmark, such as a needle's length and depth, and its accuracy."""

    at: Mapping[str, Any]
    accuracy: Interval
    num_answers: int


class BudgetPoint(NamedTuple):
    """One thinking budget (None: no limit) and what came of it."""

    decoding: str
    budget: int | None
    accuracy: Interval
    thinking_tokens: Interval


@dataclass(frozen=True, slots=True)
class Decoding:
    """One way of sampling and what it measured.

    `groups` are "all", then one per language under its code, then one per domain as "domain/NAME"; `benchmarks` the
    group of each benchmark, `cells` those that have any.
    """

    name: str
    mode: str
    settings: Mapping[str, Any]
    groups: Mapping[str, Group]
    benchmarks: Mapping[str, Group] = field(default_factory=dict)
    cells: Mapping[str, Sequence[Cell]] = field(default_factory=dict)

    def metric(self, name: str, group: str = "all") -> Interval | None:
        """The interval of one metric in one group, None where it was not measured."""
        return self.groups[group].metrics.get(name) if group in self.groups else None

    def groups_by(self, kind: str) -> dict[str, Group]:
        """The groups by "language", "domain" or "benchmark", under their own names."""
        if kind == "benchmark":
            return dict(self.benchmarks)
        split = {name: name.rpartition("/") for name in self.groups if name != "all"}
        return {own: self.groups[name] for name, (of, _, own) in split.items() if (of or "language") == kind}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `eval.json` says; `budget_curves` by the decoding that was swept, `recipe` and `manifest` of its own run."""

    label: str
    model: str
    num_questions: int
    decodings: Mapping[str, Decoding]
    budget_curves: Mapping[str, Sequence[BudgetPoint]] = field(default_factory=dict)
    recipe: str = ""
    manifest: Row = field(default_factory=dict)

    @property
    def limited(self) -> set[str]:
        """Names of the decodings that are there as points of a budget curve only."""
        points = (point for curve in self.budget_curves.values() for point in curve)
        return {point.decoding for point in points if point.budget is not None}


def parse_evaluation(content: Row, *, recipe: str, manifest: Row) -> Evaluation:
    """The values of an `eval.json`, of an older version too, which lacks benchmarks and curves.

    Raises:
        KeyError, TypeError, AttributeError: it is none.
    """
    decodings = [_decoding(entry) for entry in content["decodings"]]
    curves = {str(each["decoding"]): list(_points(each["points"])) for each in content.get("budget_curves") or []}
    return Evaluation(
        label=str(content.get("label", "")),
        model=str(content.get("model", "")),
        num_questions=int(content.get("questions", 0)),
        decodings={decoding.name: decoding for decoding in decodings},
        budget_curves={name: points for name, points in curves.items() if points},
        recipe=recipe,
        manifest=manifest,
    )


def finite(value: object) -> float | None:
    """The number, None for what is no finite one."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _decoding(entry: Row) -> Decoding:
    groups = {name: _group(content) for name, content in entry["groups"].items()}
    # Measured once for a decoding, not by group.
    speed = finite(entry.get("tokens_per_second"))
    whole = {"latency": _interval(entry.get("latency")), "tokens_per_second": speed and Interval(speed, speed, speed)}
    if "all" in groups:
        metrics = dict(groups["all"].metrics) | {name: interval for name, interval in whole.items() if interval}
        groups["all"] = Group(groups["all"].num_answers, metrics)
    benchmarks = entry.get("benchmarks") or {}
    return Decoding(
        name=str(entry["name"]),
        mode=str(entry["mode"]),
        settings={key: entry[key] for key in SETTINGS if entry.get(key) is not None},
        groups=groups,
        benchmarks={name: _group(content["groups"]["all"]) for name, content in benchmarks.items()},
        cells={name: list(_cells(content["cells"])) for name, content in benchmarks.items() if content.get("cells")},
    )


def _group(content: Row) -> Group:
    metrics = {name: interval for name, value in content.items() if (interval := _interval(value))}
    tries = [
        (int(k), interval) for k, value in (content.get("pass_at") or {}).items() if (interval := _interval(value))
    ]
    if tries:
        k, interval = max(tries)
        metrics[f"pass@{k}"] = interval
    return Group(num_answers=int(content.get("n", 0)), metrics=metrics)


def _cells(cells: Sequence[Row]) -> Iterator[Cell]:
    for cell in cells:
        group = _group(cell)
        at = {
            name: value for name, value in cell.items() if name not in COUNTS and isinstance(value, str | int | float)
        }
        if "accuracy" in group.metrics:
            yield Cell(at, group.metrics["accuracy"], group.num_answers)


def _points(points: Sequence[Row]) -> Iterator[BudgetPoint]:
    for point in points:
        accuracy, tokens = _interval(point["accuracy"]), _interval(point["thinking_tokens"])
        if accuracy and tokens:
            yield BudgetPoint(str(point["decoding"]), point["thinking_budget"], accuracy, tokens)


def _interval(value: object) -> Interval | None:
    bounds = [finite(value.get(key)) for key in Interval._fields] if isinstance(value, dict) else []
    known = [bound for bound in bounds if bound is not None]
    return Interval(*known) if len(known) == len(Interval._fields) else None
