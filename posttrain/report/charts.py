"""Plotly figures as plain JSON: which curves exist, what they show, how they are laid out.

A colour is written as the name of a CSS variable, e.g. "var(--accent)", perhaps with two hex digits of opacity behind
it: `page.css` gives it one value for light and one for dark, and `page.js` puts that value in when it draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from typing import Any

from posttrain.report.load import Decoding, Interval, StageRun
from posttrain.report.table import decoding_names
from posttrain.report.words import LANGUAGES

Figure = dict[str, Any]

ACCENT, INK, GREY, FAINT = "var(--accent)", "var(--ink)", "var(--grey)", "var(--line)"
SERIES = (ACCENT, "var(--orange)", "var(--green)")
DASHES = ("solid", "dash", "dot")  # the fourth curve has the first one's colour again
SMOOTHED_FROM = 120  # a curve of at least this many points is drawn faint, with its moving median on top
MARKED_UP_TO = 40  # a curve of at most this many points shows each of them


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart of a stage: metric key -> name in the legend. Drawn when any of its keys was logged."""

    title: str
    curves: dict[str, str]
    note: str = ""
    number_format: str = ".3~g"
    is_stacked: bool = False


PANELS = (
    Panel("Reward and outcome", {"reward": "reward", "outcome": "share correct"}),
    Panel(
        "Groups",
        {"groups/all_correct": "all correct", "groups/mixed": "mixed", "groups/all_wrong": "all wrong"},
        "share of the sampled groups",
        number_format=".1%",
        is_stacked=True,
    ),
    Panel(
        "Length",
        {"completions/mean_length": "completion", "completions/mean_thinking_tokens": "thinking"},
        "mean tokens",
        number_format=".1f",
    ),
    Panel("Entropy", {"entropy": "entropy"}, "mean over tokens, nats"),
    Panel("KL to the reference", {"kl": "KL"}),
    Panel("Rollout mismatch KL", {"rollout/mismatch_kl": "mismatch KL"}, "engine against trainer"),
    Panel("Probability", {"prob/chosen": "chosen", "prob/rejected": "rejected"}, "exp of mean log-probability"),
    Panel("Margin", {"margin": "margin"}, "p(chosen) − p(rejected)"),
    Panel("Order", {"ordering_accuracy": "right order"}, "share of pairs", number_format=".1%"),
    Panel("Loss", {"loss": "all", "loss/reasoning": "reasoning", "loss/non_reasoning": "non-reasoning"}),
    Panel(
        "Validation loss",
        {"eval_loss": "all", "eval_loss/reasoning": "reasoning", "eval_loss/non_reasoning": "non-reasoning"},
    ),
    Panel("Token ratio", {"tokens/ratio": "reasoning : non-reasoning"}, "dashed: what the recipe asks for"),
    Panel("Gradient norm", {"grad_norm": "gradient norm"}),
    Panel(
        "Time per step",
        {"seconds/generate": "sampling", "seconds/update": "update"},
        "seconds",
        number_format=".2f",
        is_stacked=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with its heading; `note` says the unit or how to read it."""

    title: str
    note: str
    figure: Figure


def stage_charts(stage: StageRun, *, asked_ratio: float | None = None) -> list[Chart]:
    """The curves of one stage, only those that have data; `asked_ratio` draws the recipe's token ratio."""
    charts = []
    for panel in (*PANELS, *_domain_panels(stage)):
        series = {name: points for key, name in panel.curves.items() if (points := stage.series(key))}
        if not any(value is not None for points in series.values() for _, value in points):
            continue
        figure = _stacked(panel, series) if panel.is_stacked else _lines(panel, series)
        is_ratio = "tokens/ratio" in panel.curves
        if is_ratio and asked_ratio is not None:
            figure["layout"]["shapes"] = [_level(asked_ratio)]
        charts.append(Chart(panel.title, "" if is_ratio and asked_ratio is None else panel.note, figure))
    return charts


def _domain_panels(stage: StageRun) -> Iterator[Panel]:
    """The loss of each domain, where several were logged."""
    keys = sorted({key for row in stage.metrics for key in row})
    for mode, name in (("reasoning", "reasoning"), ("non_reasoning", "non-reasoning")):
        prefix = f"loss/{mode}/"
        yield Panel(f"Loss, {name}", {key: key.removeprefix(prefix) for key in keys if key.startswith(prefix)})


def language_charts(stages: Sequence[StageRun]) -> dict[str, list[Chart]]:
    """By decoding: accuracy and language consistency as bars, per language and stage, with 95 % intervals."""
    metrics = {"accuracy": "Accuracy", "language_consistency": "Answers in the question's language"}
    charts: dict[str, list[Chart]] = {}
    for name in decoding_names(stages):
        measured = [(stage.name, decoding) for stage in stages if (decoding := stage.decoding(name))]
        drawn = [Chart(title, "%", figure) for key, title in metrics.items() if (figure := _bars(measured, key))]
        if drawn:
            charts[name] = drawn
    return charts


def _lines(panel: Panel, series: dict[str, list[tuple[int, float | None]]]) -> Figure:
    traces = []
    styles = cycle({"color": colour, "dash": dash} for dash in DASHES for colour in SERIES)
    for (name, points), style in zip(series.items(), styles, strict=False):
        line = _trace(panel, name, points) | {"line": style | {"width": 2}}
        if len(points) >= SMOOTHED_FROM:
            faint = line | {"line": style | {"width": 1}, "opacity": 0.4, "showlegend": False}
            traces.append(faint)
            line = line | {"y": _rounded(_moving_median(points)), "hoverinfo": "skip", "hovertemplate": None}
        traces.append(line)
    return {"data": traces, "layout": _layout(panel.number_format, has_legend=len(series) > 1)}


def _stacked(panel: Panel, series: dict[str, list[tuple[int, float | None]]]) -> Figure:
    # Best, middle, worst: the two hues stay apart for every kind of colour vision, the middle is a neutral grey.
    fills = (ACCENT, GREY, "var(--orange)") if len(panel.curves) == 3 else SERIES
    colours = dict(zip(panel.curves.values(), fills, strict=False))
    traces = [
        _trace(panel, name, points)
        | {"stackgroup": "one", "line": {"width": 0}, "mode": "lines", "fillcolor": colours[name]}
        for name, points in series.items()
    ]
    layout = _layout(panel.number_format, has_legend=True)
    if panel.number_format.endswith("%"):
        layout["yaxis"]["range"] = [0, 1]
    return {"data": traces, "layout": layout}


def _bars(measured: list[tuple[str, Decoding]], metric: str) -> Figure | None:
    languages = list(dict.fromkeys(name for _, each in measured for name in each.groups if name != "all"))
    traces = []
    for index, (stage, decoding) in enumerate(measured):
        points = {language: point for language in languages if (point := decoding.metric(metric, language))}
        if points:
            # One hue, stronger with every stage: order is readable without telling colours apart.
            strength = 0.3 + 0.7 * (index + 1) / len(measured)
            traces.append(_bar(stage, points) | {"marker": {"color": f"{ACCENT}{round(255 * strength):02x}"}})
    if not traces:
        return None
    layout = _layout(".0f", has_legend=len(traces) > 1)
    layout["yaxis"] |= {"range": [0, 102], "tickvals": [0, 25, 50, 75, 100]}
    layout["xaxis"] = {"color": INK, "fixedrange": True, "showgrid": False, "automargin": True}
    return {"data": traces, "layout": layout | {"bargap": 0.3, "bargroupgap": 0.08, "hovermode": "closest"}}


def _bar(stage: str, points: dict[str, Interval]) -> Figure:
    hover = "%{fullData.name}, %{x}<br>%{y:.1f} % [%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>"
    written = {language: [100 * value for value in interval] for language, interval in points.items()}
    return {
        "type": "bar",
        "name": stage,
        "x": [LANGUAGES.get(language, language) for language in points],
        "y": _rounded([mean for mean, _, _ in written.values()]),
        "customdata": [[round(low, 1), round(high, 1)] for _, low, high in written.values()],
        "error_y": {
            "type": "data",
            "array": _rounded([high - mean for mean, _, high in written.values()]),
            "arrayminus": _rounded([mean - low for mean, low, _ in written.values()]),
            "color": INK,
            "thickness": 1,
            "width": 3,
        },
        "hovertemplate": hover,
    }


def _trace(panel: Panel, name: str, points: list[tuple[int, float | None]]) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) <= MARKED_UP_TO else "lines",
        "marker": {"size": 4},
        "name": name,
        "x": [step for step, _ in points],
        "y": _rounded([value for _, value in points]),
        "hovertemplate": f"%{{y:{panel.number_format}}}<extra>{name}</extra>",
    }


def _layout(number_format: str, *, has_legend: bool) -> Figure:
    axis = {"color": INK, "gridcolor": FAINT, "zeroline": False, "automargin": True, "nticks": 6}
    axis |= {"exponentformat": "e", "minexponent": 5}
    font = {"family": "system-ui, sans-serif", "size": 12, "color": INK}
    spike = {"spikecolor": GREY, "spikethickness": 1, "spikedash": "solid"}
    return {
        "height": 240,
        "margin": {"l": 8, "r": 8, "t": 30 if has_legend else 8, "b": 12},
        "paper_bgcolor": "transparent",
        "plot_bgcolor": "transparent",
        "font": font,
        "showlegend": has_legend,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "itemsizing": "constant",
            "traceorder": "normal",
        },
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "var(--paper)", "bordercolor": FAINT, "font": font},
        "xaxis": axis | spike | {"showgrid": False, "hoverformat": "d", "unifiedhovertitle": {"text": "step %{x}"}},
        "yaxis": axis
        | {
            "fixedrange": True,
            "ticklabelstandoff": 6,
            "rangemode": "tozero",
            "tickformat": ".0%" if "%" in number_format else "",
        },
        "modebar": {"bgcolor": "transparent", "color": FAINT, "activecolor": INK},
    }


def _level(value: float) -> Figure:
    line = {"color": INK, "width": 1, "dash": "dash"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line, "opacity": 0.5}


def _moving_median(points: list[tuple[int, float | None]]) -> list[float | None]:
    half = len(points) // 80
    values = [value for _, value in points]
    windows = ([v for v in values[max(0, at - half) : at + half + 1] if v is not None] for at in range(len(values)))
    return [median(window) if window else None for window in windows]


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else float(f"{value:.5g}") for value in values]
