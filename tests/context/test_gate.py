"""The gate's arithmetic: what makes a cell, which hold a stage back, and what is written down."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from posttrain.context.gate import Cell, Gate, cells_of, failing, gate_table, named
from posttrain.context.gate_log import GateLog
from posttrain.context.plan import gate_steps


def record(depth: float, outcome: bool | None, length: int = 64) -> dict[str, Any]:
    return {"cell": {"task": "needle", "length": length, "depth": depth}, "outcome": outcome}


def gate(step: int, *cells: Cell, loss: float | None = None) -> Gate:
    return Gate(step, 100 * step, False, cells, loss, None if loss is None else 2.0)


def test_cell_counts_the_right_answers_of_its_task_length_and_depth() -> None:
    records = [record(0.5, True), record(0.0, True), record(0.5, False), record(0.5, True), record(0.5, True, 128)]
    assert cells_of(records) == (
        Cell("needle", 64, 0.0, 1, 1),
        Cell("needle", 64, 0.5, 2, 3),
        Cell("needle", 128, 0.5, 1, 1),
    )


def test_answer_that_no_grader_could_judge_is_not_right() -> None:
    assert cells_of([record(0.0, None)])[0].accuracy == 0


@pytest.mark.parametrize(("minimum", "held_back"), [(1.0, ["b", "c"]), (0.5, ["c"]), (0.1, ["c"])])
def test_stage_is_held_back_by_every_cell_below_the_minimum(minimum: float, held_back: list[str]) -> None:
    cells = [Cell("a", 64, 0.0, 2, 2), Cell("b", 64, 0.0, 1, 2), Cell("c", 64, 0.0, 0, 2)]
    assert [cell.task for cell in failing(cells, minimum)] == held_back


def test_failing_cells_are_named_and_the_rest_of_many_is_counted() -> None:
    cells = [Cell("needle", 4096, 0.25, 1, 2), Cell("needle", 4096, 1.0, 0, 2), Cell("needle", 8192, 1.0, 0, 2)]
    assert named(cells[:1]) == "needle of 4,096 at depth 0.25 (1 of 2)"
    assert named(cells, most=1) == "needle of 4,096 at depth 0.25 (1 of 2); and 2 more"


def test_table_has_a_line_for_each_length_and_a_column_for_each_depth() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(gate_table([Cell("needle", 64, 0.0, 1, 2), Cell("needle", 128, 1.0, 3, 3)], 1.0))
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    assert lines[0] == ["right,", "%", "at", "depth", "0", "1"]
    assert lines[2:] == [["needle", "64", "50"], ["needle", "128", "100"]]


def test_rise_of_the_short_loss_is_relative_to_the_start_of_the_run() -> None:
    assert gate(1, loss=2.1).short_rise == pytest.approx(0.05)
    assert gate(1).short_rise is None


def test_gates_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = GateLog(tmp_path, is_main=True)
    assert log.read() == []
    gates = [gate(0, loss=2.0), gate(3, Cell("needle", 64, 0.5, 1, 2), loss=1.5), gate(6, Cell("qa", 64, 1.0, 2, 2))]
    for each in gates:
        log.append(each)
    assert log.read() == gates
    GateLog(tmp_path, is_main=False).append(gate(9))
    GateLog(tmp_path, is_main=False).truncate(after_step=0)
    assert log.read() == gates


def test_later_gates_and_a_line_cut_short_by_a_kill_are_dropped_before_a_run_goes_on(tmp_path: Path) -> None:
    log = GateLog(tmp_path, is_main=True)
    for step in (0, 3, 6):
        log.append(gate(step))
    log.truncate(after_step=3)
    assert [each.step for each in log.read()] == [0, 3]
    with (tmp_path / "gate.jsonl").open("a") as file:
        file.write('{"step": 5, "tok')
    assert [each.step for each in log.read()] == [0, 3]
    log.truncate(after_step=4)
    log.append(gate(5))
    assert [each.step for each in log.read()] == [0, 3, 5]


@pytest.mark.parametrize(
    ("slice_tokens", "steps"),
    [(100, [1, 2, 3, 4]), (200, [2, 4]), (250, [3, 4]), (300, [3, 4]), (400, [4]), (1e9, [4]), (30, [1, 2, 3, 4])],
)
def test_gate_follows_every_step_that_completes_a_slice_and_the_last(slice_tokens: float, steps: list[int]) -> None:
    assert gate_steps(np.array([0, 100, 200, 300, 400]), slice_tokens) == steps


def test_slices_are_counted_from_the_start_of_the_stage_and_not_from_the_last_gate() -> None:
    """Steps of 90 tokens, slices of 200: 180 is too few, 270 completes the first, 450 the second."""
    tokens = 90 * np.arange(8)
    assert gate_steps(tokens, 200) == [3, 5, 7]
    assert [math.floor(tokens[step] / 200) for step in (3, 5, 7)] == [1, 2, 3]
