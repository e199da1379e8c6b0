"""The charts of a context stage's gate: its history, and the cells of the last look."""

from collections.abc import Sequence

from posttrain.report.evaluation import Cell, Interval, Row, finite
from posttrain.report.evaluation_charts import heat_map
from posttrain.report.figures import ACCENT, ORANGE, Chart, Figure, layout, rounded
from posttrain.report.load import StageRun


def gate_charts(stages: Sequence[StageRun]) -> list[Chart]:
    """For each stage that has a gate: how many cells passed after each slice, the short loss, and the last cells."""
    charts: list[Chart] = []
    for stage in stages:
        asked = [gate for gate in stage.gates if gate.get("cells")]
        if not asked:
            continue
        charts.append(_history(stage.name, asked))
        if any(finite(gate.get("short_loss")) is not None for gate in stage.gates):
            charts.append(_short_loss(stage.name, stage.gates))
        cells = asked[-1]["cells"]
        for task in sorted({cell["task"] for cell in cells}):
            of_task = [_cell(cell) for cell in cells if cell["task"] == task]
            note = f"{task}, last gate, step {asked[-1]['step']}; accuracy in %"
            charts.append(Chart(stage.name, note, heat_map(of_task, _right_of_asked)))
    return charts


def _history(name: str, gates: Sequence[Row]) -> Chart:
    shares = [sum(cell["right"] == cell["asked"] for cell in gate["cells"]) / len(gate["cells"]) for gate in gates]
    accuracies = [
        sum(cell["right"] for cell in gate["cells"]) / sum(cell["asked"] for cell in gate["cells"]) for gate in gates
    ]
    steps = [gate["step"] for gate in gates]
    traces = [
        _line("cells without an error", steps, shares, ACCENT, ".0%"),
        _line("right answers", steps, accuracies, ORANGE, ".0%"),
    ]
    look = layout(".0%", has_legend=True)
    look["yaxis"]["range"] = [0, 1.02]
    return Chart(name, "what the gate saw after each slice", {"data": traces, "layout": look})


def _short_loss(name: str, gates: Sequence[Row]) -> Chart:
    steps = [gate["step"] for gate in gates]
    losses, before = ([finite(gate.get(key)) for gate in gates] for key in ("short_loss", "short_loss_before"))
    traces = [
        _line("short rows", steps, losses, ACCENT, ".4f"),
        _line("start of the run", steps, before, ORANGE, ".4f"),
    ]
    look = layout(".4f", has_legend=True)
    look["yaxis"]["rangemode"] = "normal"
    return Chart(name, "loss on short rows, nats per token", {"data": traces, "layout": look})


def _line(name: str, steps: Sequence[int], values: Sequence[float | None], colour: str, number_format: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "marker": {"size": 4},
        "line": {"color": colour, "width": 2},
        "name": name,
        "x": list(steps),
        "y": rounded(values),
        "hovertemplate": f"%{{y:{number_format}}}<extra>{name}</extra>",
    }


def _cell(cell: Row) -> Cell:
    accuracy = cell["right"] / cell["asked"]
    at = {"length": cell["length"], "depth": cell["depth"]}
    return Cell(at, Interval(accuracy, accuracy, accuracy), cell["asked"])


def _right_of_asked(cell: Cell) -> str:
    return f"{round(cell.accuracy.mean * cell.num_answers)} of {cell.num_answers}"
