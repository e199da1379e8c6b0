"""The curves of training: which there are, what they show, and how runs that are compared share a chart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from statistics import median

from posttrain.report.figures import ACCENT, DASHES, GREY, INK, ORANGE, SERIES, Chart, Figure, layout, rounded
from posttrain.report.load import StageRun
from posttrain.report.words import LANGUAGES

Points = list[tuple[int, float | None]]

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
    is_levelled: bool = False  # the note is about a level that the recipe asks for


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
        {"completions/mean_length": "completion", "length/thinking": "thinking", "length/answer": "answer"},
        "mean tokens",
        number_format=".1f",
    ),
    Panel("Entropy", {"entropy": "entropy"}, "mean over tokens, nats"),
    Panel("KL to the reference", {"kl": "KL"}),
    Panel("Rollout mismatch KL", {"rollout/mismatch_kl": "mismatch KL"}, "engine against trainer"),
    Panel("Probability", {"prob/chosen": "chosen", "prob/rejected": "rejected"}, "exp of mean log-probability"),
    Panel("Margin", {"margin": "margin"}, "p(chosen) − p(rejected)"),
    Panel(
        "Pair lengths", {"length/chosen": "chosen", "length/rejected": "rejected"}, "mean tokens", number_format=".1f"
    ),
    Panel("Order", {"ordering_accuracy": "right order"}, "share of pairs", number_format=".1%"),
    Panel("Loss", {"loss": "all", "loss/reasoning": "reasoning", "loss/non_reasoning": "non-reasoning"}),
    Panel(
        "Validation loss",
        {"eval_loss": "all", "eval_loss/reasoning": "reasoning", "eval_loss/non_reasoning": "non-reasoning"},
    ),
    Panel(
        "Token ratio",
        {"tokens/ratio": "reasoning : non-reasoning"},
        "dashed: what the recipe asks for",
        is_levelled=True,
    ),
    Panel("Gradient norm", {"grad_norm": "gradient norm"}),
    Panel(
        "Time per step",
        {"seconds/generate": "sampling", "seconds/update": "update"},
        "seconds",
        number_format=".2f",
        is_stacked=True,
    ),
)

# One curve for each key with this prefix, in the order of their names.
BY_GROUP = (
    Panel("Loss, reasoning", {"loss/reasoning/": ""}),
    Panel("Loss, non-reasoning", {"loss/non_reasoning/": ""}),
    Panel("Share correct by domain", {"outcome/domain/": ""}, number_format=".1%"),
    Panel("Share correct by language", {"outcome/language/": ""}, number_format=".1%"),
)


def stage_charts(stages: Sequence[StageRun], *, asked_ratios: Sequence[float] = ()) -> list[Chart]:
    """The curves of one stage, or of several runs of it, only those that have data.

    Args:
        stages: with more than one, each chart has the curves of all of them, told apart by their dashes; what is
            stacked stands side by side.
        asked_ratios: the token ratios that the recipes ask for, drawn as levels.
    """
    charts: list[Chart] = []
    for panel in (*PANELS, *_domain_panels(stages)):
        drawn = [(stage.name, series) for stage in stages if (series := _series(panel, stage))]
        if not drawn:
            continue
        is_levelled = bool(asked_ratios) and "tokens/ratio" in panel.curves
        if panel.is_stacked:
            for name, series in drawn:
                title = panel.title if len(stages) == 1 else f"{panel.title}, {name}"
                charts.append(Chart(title, panel.note, _stacked(panel, series)))
            continue
        figure = _lines(panel, drawn, run_dashes(stages))
        if is_levelled:
            figure["layout"]["shapes"] = [_level(ratio) for ratio in sorted(set(asked_ratios))]
        charts.append(Chart(panel.title, panel.note if is_levelled or not panel.is_levelled else "", figure))
    return charts


def run_dashes(stages: Sequence[StageRun]) -> dict[str, str]:
    """The dash of each run's curves where several share the charts; empty for one alone, which needs none."""
    names = [stage.name for stage in stages]
    return dict(zip(names, cycle(DASHES), strict=False)) if len(names) > 1 else {}


def _series(panel: Panel, stage: StageRun) -> dict[str, Points]:
    """The panel's curves in a run; none where not one value is a number."""
    series = {name: points for key, name in panel.curves.items() if (points := stage.series(key))}
    return series if any(value is not None for points in series.values() for _, value in points) else {}


def _domain_panels(stages: Sequence[StageRun]) -> Iterator[Panel]:
    """What was logged by domain or language, where there are several."""
    keys = sorted({key for stage in stages for row in stage.metrics for key in row})
    for panel in BY_GROUP:
        (prefix,) = panel.curves
        curves = {key: LANGUAGES.get(group, group) for key in keys if (group := key.removeprefix(prefix)) != key}
        if len(curves) > 1:
            yield replace(panel, curves=curves)


def _lines(panel: Panel, drawn: Sequence[tuple[str, dict[str, Points]]], dash_of: dict[str, str]) -> Figure:
    """A colour each curve; a dash too where colours run out, or for each run where there are several."""
    names = list(dict.fromkeys(name for _, series in drawn for name in series))
    traces: list[Figure] = []
    shown: set[str] = set()
    for run, series in drawn:
        styles = cycle((colour, dash) for dash in DASHES for colour in SERIES)
        for name, (colour, dash) in zip(names, styles, strict=False):
            if name not in series:
                continue
            points, style = series[name], {"color": colour, "dash": dash_of.get(run, dash)}
            line = _trace(panel, f"{name}, {run}" if dash_of else name, points) | {"line": style | {"width": 2}}
            if dash_of:  # the legend has each curve once; whose dash is whose stands above the charts
                line |= {"name": name, "legendgroup": name, "showlegend": name not in shown}
            shown.add(name)
            if len(points) >= SMOOTHED_FROM:
                traces.append(line | {"line": style | {"width": 1}, "opacity": 0.4, "showlegend": False})
                line = line | {"y": rounded(_moving_median(points)), "hoverinfo": "skip", "hovertemplate": None}
            traces.append(line)
    return {"data": traces, "layout": layout(panel.number_format, has_legend=len(names) > 1)}


def _stacked(panel: Panel, series: dict[str, Points]) -> Figure:
    # Best, middle, worst: the two hues stay apart for every kind of colour vision, the middle is a neutral grey.
    fills = (ACCENT, GREY, ORANGE) if len(panel.curves) == 3 else SERIES
    colours = dict(zip(panel.curves.values(), fills, strict=False))
    traces = [
        _trace(panel, name, points)
        | {"stackgroup": "one", "line": {"width": 0}, "mode": "lines", "fillcolor": colours[name]}
        for name, points in series.items()
    ]
    look = layout(panel.number_format, has_legend=True)
    if panel.number_format.endswith("%"):
        look["yaxis"]["range"] = [0, 1]
    return {"data": traces, "layout": look}


def _trace(panel: Panel, name: str, points: Points) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) <= MARKED_UP_TO else "lines",
        "marker": {"size": 4},
        "name": name,
        "x": [step for step, _ in points],
        "y": rounded([value for _, value in points]),
        "hovertemplate": f"%{{y:{panel.number_format}}}<extra>{name}</extra>",
    }


def _level(value: float) -> Figure:
    line = {"color": INK, "width": 1, "dash": "dash"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line, "opacity": 0.5}


def _moving_median(points: Points) -> list[float | None]:
    half = len(points) // 80
    values = [value for _, value in points]
    windows = ([v for v in values[max(0, at - half) : at + half + 1] if v is not None] for at in range(len(values)))
    return [median(window) if window else None for window in windows]
