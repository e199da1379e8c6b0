"""Read the folders of runs and evaluations into plain values; nothing here knows how they will look."""

import json
import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.errors import UserError

SETTINGS: tuple[str, ...] = ("temperature", "top_p", "samples", "max_new_tokens")  # what the page says of a decoding
KEPT_PER_CELL = 2  # conversations kept from the start, and as many from the end, of each kind of conversation

Row = dict[str, Any]


class Interval(NamedTuple):
    """A mean with its 95 % interval; shares lie in [0, 1], lengths are tokens."""

    mean: float
    low: float
    high: float

    def is_apart_from(self, other: "Interval") -> bool:
        """Whether the two intervals share no point."""
        return self.low > other.high or other.low > self.high


@dataclass(frozen=True, slots=True)
class Group:
    """The measurements over one group of answers: all of them, or those to questions of one language."""

    num_answers: int
    metrics: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class Decoding:
    """One way of sampling and what it measured, by group: "all", then one per language."""

    name: str
    mode: str
    settings: Mapping[str, Any]
    groups: Mapping[str, Group]

    def metric(self, name: str, group: str = "all") -> Interval | None:
        """The interval of one metric in one group, None where it was not measured."""
        return self.groups[group].metrics.get(name) if group in self.groups else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `eval.json` says."""

    label: str
    model: str
    num_questions: int
    decodings: Mapping[str, Decoding]


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage as it lies on disk.

    `metrics` are the rows of `metrics.jsonl`. `samples` are a spread of conversations, each with a `source`
    ("training" or "evaluation"): a bounded number per mode, language, decoding and outcome, early and late ones.
    `evaluation` is None when the stage was not evaluated.
    """

    name: str
    run: Path
    manifest: Row
    recipe: str = ""
    metrics: list[Row] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)
    evaluation: Evaluation | None = None

    def series(self, key: str) -> list[tuple[int, float | None]]:
        """(step, value) of every row that carries `key`; a value that is no finite number becomes None."""
        return [(int(row["step"]), _finite(row[key])) for row in self.metrics if key in row and "step" in row]

    def decoding(self, name: str) -> Decoding | None:
        """The evaluation under one decoding, None when there is none."""
        return self.evaluation.decodings.get(name) if self.evaluation else None


def load_stage(name: str, run: Path, evaluation: Path | None) -> StageRun:
    """Read the run folder of a stage and, where there is one, the run folder of its evaluation.

    Metrics and samples may be absent, and the last line of either may be half-written: a killed run leaves both.

    Raises:
        UserError: a folder, `manifest.json`, `recipe.yaml` or `eval.json` is missing, or one of
            the files is not what its name says.
    """
    if not run.is_dir():
        raise UserError(
            f"stage {name!r}: there is no run folder {run}; make it with `posttrain STAGE RECIPE run={run}`"
        )
    needed = [run / "manifest.json", run / "recipe.yaml"]
    missing = [path.name for path in needed if not path.is_file()]
    if missing:
        raise UserError(
            f"stage {name!r}: {run} has no {' and no '.join(missing)}, so it is not a run folder; "
            f"name another folder, or make this one with `posttrain STAGE RECIPE run={run}`"
        )
    samples = _spread(run / "samples.jsonl", source="training")
    if evaluation is not None:
        samples = _spread(evaluation / "samples.jsonl", source="evaluation") + samples
    return StageRun(
        name=name,
        run=run,
        manifest=_read_object(run / "manifest.json"),
        recipe=(run / "recipe.yaml").read_text(encoding="utf-8"),
        metrics=list(_read_lines(run / "metrics.jsonl")),
        samples=samples,
        evaluation=None if evaluation is None else _read_evaluation(name, evaluation / "eval.json"),
    )


def _read_evaluation(stage: str, path: Path) -> Evaluation:
    if not path.is_file():
        raise UserError(
            f"stage {stage!r}: its evaluation {path.parent} has no {path.name}; "
            f"make it with `posttrain eval RECIPE run={path.parent}`"
        )
    content = _read_object(path)
    try:
        decodings = [_decoding(entry) for entry in content["decodings"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a result of `posttrain eval` ({error!r}); evaluate again") from error
    return Evaluation(
        label=str(content.get("label", "")),
        model=str(content.get("model", "")),
        num_questions=int(content.get("questions", 0)),
        decodings={decoding.name: decoding for decoding in decodings},
    )


def _decoding(entry: Row) -> Decoding:
    settings = {key: entry[key] for key in SETTINGS if key in entry}
    groups = {name: _group(content) for name, content in entry["groups"].items()}
    return Decoding(name=str(entry["name"]), mode=str(entry["mode"]), settings=settings, groups=groups)


def _group(content: Row) -> Group:
    metrics = {}
    for name, value in content.items():
        bounds = [_finite(value.get(key)) for key in Interval._fields] if isinstance(value, dict) else []
        known = [bound for bound in bounds if bound is not None]
        if len(known) == len(Interval._fields):
            metrics[name] = Interval(*known)
    return Group(num_answers=int(content.get("n", 0)), metrics=metrics)


def _spread(path: Path, *, source: str) -> list[Row]:
    """A bounded spread over a file of any length: first and last few of each cell, cells taken in turn."""
    first: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    last: dict[tuple[str, ...], deque[Row]] = defaultdict(lambda: deque(maxlen=KEPT_PER_CELL))
    for row in _read_lines(path):
        cell = tuple(str(row.get(key)) for key in ("mode", "language", "outcome", "decoding"))
        kept = first[cell] if len(first[cell]) < KEPT_PER_CELL else last[cell]
        kept.append(row | {"source": source})
    cells = [[*first[cell], *last[cell]] for cell in first]
    turns = range(max(map(len, cells), default=0))
    return [cell[turn] for turn in turns for cell in cells if turn < len(cell)]


def _read_object(path: Path) -> Row:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); run its stage again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, need a JSON object; run its stage again")
    return content


def _read_lines(path: Path) -> Iterator[Row]:
    """The objects of a JSON-lines file, nothing when there is no file; an unreadable last line is skipped."""
    if not path.is_file():
        return
    broken: int | None = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            if broken is not None:
                raise UserError(f"{path}, line {broken} is not a JSON object; remove that line or run the stage again")
            row = _parse(line)
            if row is None:
                broken = number
            else:
                yield row


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
