"""Read the folders of runs and evaluations into plain values; nothing here knows how they will look."""

import json
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from posttrain.errors import UserError
from posttrain.report.evaluation import Decoding, Evaluation, Row, finite, parse_evaluation

KEPT_PER_CELL = 2  # conversations kept from the start, and as many from the end, of each kind of conversation
KIND = ("mode", "language", "outcome", "decoding", "group_type")


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage as it lies on disk.

    `metrics` are the rows of `metrics.jsonl`, `gates` those of a context stage's `gate.jsonl`. `samples` are a spread
    of conversations, each with a `source` ("training" or "evaluation"): a bounded number of each kind of conversation,
    early and late ones.
    `evaluation` is None when the stage was not evaluated. A number is compared with that of the stage before it in the
    same `pipeline`; the curves of runs of one `place` are drawn in one chart.
    """

    name: str
    run: Path
    manifest: Row
    recipe: str = ""
    metrics: list[Row] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)
    evaluation: Evaluation | None = None
    pipeline: str = ""
    place: str = ""
    gates: list[Row] = field(default_factory=list)

    def series(self, key: str) -> list[tuple[int, float | None]]:
        """(step, value) of every row that carries `key`; a value that is no finite number becomes None."""
        return [(int(row["step"]), finite(row[key])) for row in self.metrics if key in row and "step" in row]

    def decoding(self, name: str) -> Decoding | None:
        """The evaluation under one decoding, None when there is none."""
        return self.evaluation.decodings.get(name) if self.evaluation else None


def load_stage(name: str, run: Path, evaluation: Path | None) -> StageRun:
    """Read the run folder of a stage and, where there is one, the run folder of its evaluation.

    Metrics and samples may be absent, and the last line of either may be half-written: a killed run leaves both.
    The run folder of an evaluation can stand alone, as `run`.

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
    manifest = read_object(run / "manifest.json")
    if manifest.get("stage") == "eval":
        evaluation, samples = run if (run / "eval.json").is_file() else None, []
    else:
        samples = _spread(run / "samples.jsonl", source="training")
    if evaluation is not None:
        samples = _spread(evaluation / "samples.jsonl", source="evaluation") + samples
    return StageRun(
        name=name,
        run=run,
        manifest=manifest,
        recipe=(run / "recipe.yaml").read_text(encoding="utf-8"),
        metrics=list(_read_lines(run / "metrics.jsonl")),
        samples=samples,
        gates=list(_read_lines(run / "gate.jsonl")),
        evaluation=None if evaluation is None else _read_evaluation(name, evaluation),
    )


def _read_evaluation(stage: str, folder: Path) -> Evaluation:
    path = folder / "eval.json"
    if not path.is_file():
        raise UserError(
            f"stage {stage!r}: its evaluation {folder} has no {path.name}; "
            f"make it with `posttrain eval RECIPE run={folder}`"
        )
    content, recipe, manifest = read_object(path), folder / "recipe.yaml", folder / "manifest.json"
    try:
        return parse_evaluation(
            content,
            recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
            manifest=read_object(manifest) if manifest.is_file() else {},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a result of `posttrain eval` ({error!r}); evaluate again") from error


def _spread(path: Path, *, source: str) -> list[Row]:
    """A bounded spread over a file of any length: first and last few of each cell, cells taken in turn."""
    first: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    last: dict[tuple[str, ...], deque[Row]] = defaultdict(lambda: deque(maxlen=KEPT_PER_CELL))
    for row in _read_lines(path):
        cell = tuple(str(row.get(key)) for key in KIND)
        kept = first[cell] if len(first[cell]) < KEPT_PER_CELL else last[cell]
        kept.append(row | {"source": source})
    cells = [[*first[cell], *last[cell]] for cell in first]
    turns = range(max(map(len, cells), default=0))
    return [cell[turn] for turn in turns for cell in cells if turn < len(cell)]


def read_object(path: Path) -> Row:
    """The object of a JSON file.

    Raises:
        UserError: it holds none.
    """
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
