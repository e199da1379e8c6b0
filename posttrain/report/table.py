"""The stage table: what each stage measures per decoding, against the stage before it.

Intervals are written [low, high]: near 0 and 100 % they are not symmetric, so "mean ± half" would be wrong there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import fill

from rich import box
from rich.table import Table
from rich.text import Text

from posttrain.report.evaluation import Interval
from posttrain.report.load import StageRun
from posttrain.report.words import NOTHING, count, percent, signed

NOT_EVALUATED = "not evaluated"
LEGEND = "[low, high] 95 % interval; signed: against the stage above, bold: the intervals are apart"
DELTA_WIDTH = 7  # " +28.4" and a blank


@dataclass(frozen=True, slots=True)
class Column:
    """One measured quantity: its key in `eval.json`, its head, how it is written, whether its interval is shown."""

    key: str
    head: str
    unit: str
    write: Callable[[float], str]
    has_interval: bool = False

    @property
    def head_with_unit(self) -> str:
        """For tables that say the unit nowhere else."""
        return f"{self.head} {self.unit}".strip()


COLUMNS = (
    Column("accuracy", "Accuracy", "%", percent, has_interval=True),
    Column("thinking_tokens", "Thinking tokens", "", count),
    Column("mode_adherence", "Right mode", "%", percent),
    Column("language_consistency", "Right language", "%", percent),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One number as written, e.g. "74.9", "[71.2, 78.3]" and "+28.0"; `is_clear`: the two intervals are apart."""

    mean: str
    interval: str
    delta: str = ""
    is_clear: bool = False


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage under one decoding; a cell is None where nothing was measured."""

    decoding: str
    stage: str
    cells: tuple[Cell | None, ...]


def decoding_names(stages: Sequence[StageRun]) -> list[str]:
    """Every decoding that some stage was evaluated with, in order of appearance; not the points of budget curves."""
    evaluations = [stage.evaluation for stage in stages if stage.evaluation]
    return list(dict.fromkeys(name for each in evaluations for name in each.decodings if name not in each.limited))


def stage_rows(stages: Sequence[StageRun]) -> list[StageRow]:
    """Rows by decoding, then by stage, those that were evaluated; every stage where none was.

    A delta is taken against the last stage before it, in the same pipeline, that has the number.
    """
    rows = []
    names = decoding_names(stages)
    for name in names:
        before: dict[tuple[str, str], Interval] = {}
        for stage in stages:
            decoding = stage.decoding(name)
            if decoding is None:
                continue
            cells: list[Cell | None] = []
            for column in COLUMNS:
                interval = decoding.metric(column.key)
                place = stage.pipeline, column.key
                cells.append(None if interval is None else _cell(column, interval, before.get(place)))
                if interval is not None:
                    before[place] = interval
            rows.append(StageRow(name, stage.name, tuple(cells)))
    return rows if names else [StageRow(NOT_EVALUATED, stage.name, (None,) * len(COLUMNS)) for stage in stages]


def row_blocks(stages: Sequence[StageRun]) -> list[tuple[str, list[StageRow]]]:
    """`stage_rows` cut into one block per decoding."""
    return [(name, list(rows)) for name, rows in groupby(stage_rows(stages), key=lambda row: row.decoding)]


def terminal_table(stages: Sequence[StageRun]) -> Table:
    """The table for a terminal of 100 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=Text(LEGEND, style="dim"), caption_justify="left")
    table.add_column("")
    for column in COLUMNS:
        table.add_column(Text(fill(column.head_with_unit, 12)), justify="right", no_wrap=True)
    for name, rows in row_blocks(stages):
        table.add_row(Text(name, style="bold"))
        for row in rows:
            written = (_terminal_cell(cell, column) for cell, column in zip(row.cells, COLUMNS, strict=True))
            table.add_row(Text(f"  {row.stage}"), *written)
        table.add_section()
    return table


def markdown_table(stages: Sequence[StageRun]) -> str:
    """The table for a README: one line per stage and decoding, without a line end."""
    heads = ["Decoding", "Stage", *(column.head_with_unit for column in COLUMNS)]
    lines = [heads, ["---", "---", *("---:" for _ in COLUMNS)]]
    for name, rows in row_blocks(stages):
        for index, row in enumerate(rows):
            cells = (_plain_cell(cell, column) for cell, column in zip(row.cells, COLUMNS, strict=True))
            lines.append([_pipeless(name) if index == 0 else "", _pipeless(row.stage), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(column: Column, interval: Interval, before: Interval | None) -> Cell:
    mean, low, high = (column.write(value) for value in interval)
    if before is None:
        return Cell(mean, f"[{low}, {high}]")
    delta = signed(column.write(interval.mean - before.mean))
    return Cell(mean, f"[{low}, {high}]", delta, is_clear=interval.is_apart_from(before))


def _plain_cell(cell: Cell | None, column: Column) -> str:
    if cell is None:
        return NOTHING
    return f"{cell.mean} {cell.interval}" if column.has_interval else cell.mean


def _terminal_cell(cell: Cell | None, column: Column) -> Text:
    text = Text(_plain_cell(cell, column))
    delta, is_clear = (cell.delta, cell.is_clear) if cell else ("", False)
    return text.append(delta.rjust(DELTA_WIDTH), style="bold" if is_clear else "dim")


def _pipeless(text: str) -> str:
    return text.replace("|", "\\|")
