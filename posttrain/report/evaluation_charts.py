"""The charts of evaluations: bars by group, accuracy against thinking tokens, heat maps of needles."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, product
from typing import Any

from posttrain.report.evaluation import BudgetPoint, Cell, Decoding, Interval
from posttrain.report.figures import ACCENT, DASHES, FAINT, INK, SERIES, Chart, Figure, layout, rounded
from posttrain.report.load import StageRun
from posttrain.report.table import decoding_names
from posttrain.report.words import LANGUAGES, percent

PERCENT_AXIS = {"range": [0, 102], "tickvals": [0, 25, 50, 75, 100]}


def group_charts(stages: Sequence[StageRun]) -> dict[str, list[Chart]]:
    """By decoding: bars with 95 % intervals, by language, domain and benchmark, each where there are several."""
    metrics = {"accuracy": "Accuracy", "language_consistency": "Answers in the question's language"}
    kinds = ("language", "domain", "benchmark")
    charts: dict[str, list[Chart]] = {}
    for name in decoding_names(stages):
        decodings = [(stage, decoding) for stage in stages if (decoding := stage.decoding(name))]
        drawn = []
        for (metric, title), kind in product(metrics.items(), kinds):
            measured = [(stage, _measured(each, metric, kind)) for stage, each in decodings]
            if len({group for _, groups in measured for group in groups}) > 1:
                drawn.append(Chart(f"{title}, by {kind}", "%", _bars(measured)))
        if drawn:
            charts[name] = drawn
    return charts


def budget_chart(stages: Sequence[StageRun]) -> Chart | None:
    """Accuracy against thinking tokens, a curve for each stage and decoding that was swept; None where none was."""
    curves = [
        (stage.name, name, points)
        for stage in stages
        if stage.evaluation
        for name, points in stage.evaluation.budget_curves.items()
    ]
    styles = cycle((colour, dash) for dash in DASHES for colour in SERIES)
    traces = [
        _curve(f"{stage}, {name}", points) | {"line": {"color": colour, "dash": dash, "width": 2}}
        for (stage, name, points), (colour, dash) in zip(curves, styles, strict=False)
    ]
    if not traces:
        return None
    look = layout(".0f", has_legend=True)
    look["xaxis"] |= {"title": {"text": "mean thinking tokens"}, "rangemode": "tozero", "hoverformat": ".1f"}
    look["yaxis"] |= PERCENT_AXIS
    return Chart("Accuracy against thinking tokens", "%", {"data": traces, "layout": look | {"hovermode": "closest"}})


def heat_maps(stages: Sequence[StageRun]) -> list[Chart]:
    """Accuracy over the cells of every benchmark whose cells have two coordinates: one map a stage and decoding.

    Where they have more, such as a task before its lengths and depths, there is a map for each value of the others.
    """
    charts = []
    for stage in stages:
        for name in decoding_names([stage]):
            decoding = stage.decoding(name)
            for benchmark, cells in decoding.cells.items() if decoding else ():
                for shared, part in _by_others_than_last_two(cells).items():
                    title = ", ".join([benchmark, *map(str, shared), name])
                    charts.append(Chart(stage.name, f"{title}; accuracy in %", heat_map(part)))
    return charts


def _measured(decoding: Decoding, metric: str, kind: str) -> dict[str, Interval]:
    """The metric of every group of the kind in which it was measured."""
    groups = decoding.groups_by(kind).items()
    return {LANGUAGES.get(name, name): group.metrics[metric] for name, group in groups if metric in group.metrics}


def _by_others_than_last_two(cells: Sequence[Cell]) -> dict[tuple[Any, ...], list[Cell]]:
    parts: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells if all(len(cell.at) >= 2 for cell in cells) else ():
        parts.setdefault(tuple(cell.at.values())[:-2], []).append(cell)
    return parts


def _bars(measured: Sequence[tuple[StageRun, Mapping[str, Interval]]]) -> Figure:
    pipelines: dict[str, list[StageRun]] = {}
    for stage, _ in measured:
        pipelines.setdefault(stage.pipeline, []).append(stage)
    hues = dict(zip(pipelines, cycle(SERIES), strict=False))
    traces = []
    for stage, points in measured:
        if points:
            # One hue a pipeline, stronger with every stage: order is readable without telling colours apart.
            alike = pipelines[stage.pipeline]
            strength = 0.3 + 0.7 * (alike.index(stage) + 1) / len(alike)
            colour = f"{hues[stage.pipeline]}{round(255 * strength):02x}"
            traces.append(_bar(stage.name, points) | {"marker": {"color": colour}})
    look = layout(".0f", has_legend=len(traces) > 1)
    look["height"] += 12 * max(0, len(traces) - 4)  # a long legend is not to eat up the bars
    look["yaxis"] |= PERCENT_AXIS
    look["xaxis"] = {"color": INK, "fixedrange": True, "showgrid": False, "automargin": True}
    return {"data": traces, "layout": look | {"bargap": 0.3, "bargroupgap": 0.08, "hovermode": "closest"}}


def _bar(stage: str, points: Mapping[str, Interval]) -> Figure:
    hover = "%{fullData.name}, %{x}<br>%{y:.1f} % [%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>"
    return {
        "type": "bar",
        "name": stage,
        "x": list(points),
        "y": _percents([interval.mean for interval in points.values()]),
        "customdata": [_percents(interval[1:]) for interval in points.values()],
        "error_y": _error_bars(list(points.values())),
        "hovertemplate": hover,
    }


def _curve(name: str, points: Sequence[BudgetPoint]) -> Figure:
    intervals = [point.accuracy for point in points]
    budgets = ["no budget" if point.budget is None else f"budget {point.budget:,}" for point in points]
    said = [
        f"{name}<br>{budget}<br>{percent(each.mean)} % [{percent(each.low)}, {percent(each.high)}]"
        for budget, each in zip(budgets, intervals, strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "marker": {"size": 7},
        "x": rounded([point.thinking_tokens.mean for point in points]),
        "y": _percents([interval.mean for interval in intervals]),
        "error_y": _error_bars(intervals),
        "text": said,
        "hovertemplate": "%{text}<br>%{x:.1f} thinking tokens<extra></extra>",
    }


def _cell_in_words(cell: Cell) -> str:
    mean, low, high = map(percent, cell.accuracy)
    return f"{mean} % [{low}, {high}] of {cell.num_answers}"


def heat_map(cells: Sequence[Cell], in_words: Callable[[Cell], str] = _cell_in_words) -> Figure:
    """Accuracy over the last two coordinates; `in_words` is what a cell says when it is pointed at."""
    across, down = list(cells[0].at)[-2:]
    columns, rows = (sorted({cell.at[key] for cell in cells}) for key in (across, down))
    at = {(cell.at[down], cell.at[across]): cell for cell in cells}
    places = [[at.get((row, column)) for column in columns] for row in rows]
    said = [[in_words(cell) if cell else "not measured" for cell in line] for line in places]
    look = layout(".0f", has_legend=False)
    for axis, key, values in (("xaxis", across, columns), ("yaxis", down, rows)):
        look[axis] = {"type": "category", "color": INK, "fixedrange": True, "showgrid": False, "automargin": True}
        look[axis] |= {"title": {"text": key}, "categoryarray": [str(value) for value in values], "ticks": ""}
    look["yaxis"]["autorange"] = "reversed"
    trace = {
        "type": "heatmap",
        "x": [str(column) for column in columns],
        "y": [str(row) for row in rows],
        "z": [[round(100 * cell.accuracy.mean, 1) if cell else None for cell in line] for line in places],
        "zmin": 0,
        "zmax": 100,
        "colorscale": [[0, FAINT], [1, f"{ACCENT}a0"]],  # never so strong that the number on it cannot be read
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "texttemplate": "%{z:.0f}",
        "textfont": {"color": INK},
        "hovertext": said,
        "hovertemplate": f"{across} %{{x}}, {down} %{{y}}<br>%{{hovertext}}<extra></extra>",
    }
    return {"data": [trace], "layout": look | {"hovermode": "closest"}}


def _error_bars(intervals: Sequence[Interval]) -> Figure:
    return {
        "type": "data",
        "array": _percents([interval.high - interval.mean for interval in intervals]),
        "arrayminus": _percents([interval.mean - interval.low for interval in intervals]),
        "color": INK,
        "thickness": 1,
        "width": 3,
    }


def _percents(shares: Sequence[float]) -> list[float | None]:
    return rounded([100 * share for share in shares])
