"""What the answers say of each cell, and whether the stage may be left."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from rich import box
from rich.table import Table
from rich.text import Text


class Cell(NamedTuple):
    """The questions of one task at one length (tokens) and depth (0 to 1), and how many were answered right."""

    task: str
    length: int
    depth: float
    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.right / self.asked

    def __str__(self) -> str:
        return f"{self.task} of {self.length:,} at depth {self.depth:g} ({self.right} of {self.asked})"


class Gate(NamedTuple):
    """A line of `gate.jsonl`: one look at the model. Before the first step there are no cells.

    Attributes:
        step: optimizer steps made.
        tokens: trained so far in this stage.
        is_passed: whether the stage may be left.
        cells: all of them.
        short_loss: nats per trained token of the short rows; None: there are none.
        short_loss_before: that of the model the run started from.
    """

    step: int
    tokens: int
    is_passed: bool
    cells: tuple[Cell, ...]
    short_loss: float | None
    short_loss_before: float | None

    @property
    def short_rise(self) -> float | None:
        """By what share the loss on short rows has risen over the run's start."""
        if self.short_loss is None or self.short_loss_before is None:
            return None
        return self.short_loss / self.short_loss_before - 1

    def record(self) -> dict[str, Any]:
        """For `gate.jsonl`."""
        cells = [cell._asdict() | {"accuracy": cell.accuracy} for cell in self.cells]
        return self._asdict() | {"cells": cells, "short_rise": self.short_rise}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """What `record` gave."""
        cells = tuple(Cell(*(cell[name] for name in Cell._fields)) for cell in record["cells"])
        return cls(**{**{name: record[name] for name in cls._fields}, "cells": cells})


def cells_of(records: Iterable[Mapping[str, Any]]) -> tuple[Cell, ...]:
    """The cells of graded answers, in order; an answer that no grader could judge is not right."""
    counts: dict[tuple[str, int, float], list[bool]] = {}
    for record in records:
        at = record["cell"]
        counts.setdefault((at["task"], at["length"], at["depth"]), []).append(record["outcome"] is True)
    return tuple(Cell(*at, sum(outcomes), len(outcomes)) for at, outcomes in sorted(counts.items()))


def failing(cells: Sequence[Cell], min_accuracy: float) -> list[Cell]:
    """The cells that hold the stage back."""
    return [cell for cell in cells if cell.accuracy < min_accuracy]


def named(cells: Sequence[Cell], most: int = 12) -> str:
    """The cells in words; the first `most` of them."""
    rest = len(cells) - most
    return "; ".join(map(str, cells[:most])) + (f"; and {rest} more" if rest > 0 else "")


def gate_table(cells: Sequence[Cell], min_accuracy: float) -> Table:
    """Accuracy in percent: a row for each task and length, a column for each depth."""
    depths = sorted({cell.depth for cell in cells})
    at = {(cell.task, cell.length, cell.depth): cell for cell in cells}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("right, % at depth")
    for depth in depths:
        table.add_column(f"{depth:g}", justify="right")
    for task, length in sorted({(cell.task, cell.length) for cell in cells}):
        written = [_cell(at.get((task, length, depth)), min_accuracy) for depth in depths]
        table.add_row(Text(f"{task} {length:,}"), *written)
    return table


def _cell(cell: Cell | None, min_accuracy: float) -> Text:
    if cell is None:
        return Text("")
    return Text(f"{100 * cell.accuracy:.0f}", style="red" if cell.accuracy < min_accuracy else "green")
