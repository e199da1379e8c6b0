"""What every chart of the page has in common: colours, axes and the figure's heading.

Figures are Plotly's, as plain JSON. A colour is written as the name of a CSS variable, e.g. "var(--accent)", perhaps
with two hex digits of opacity behind it: `page.css` gives it one value for light and one for dark, and `page.js` puts
that value in when it draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Figure = dict[str, Any]

ACCENT, INK, GREY, FAINT = "var(--accent)", "var(--ink)", "var(--grey)", "var(--line)"
ORANGE, GREEN = "var(--orange)", "var(--green)"
SERIES = (ACCENT, ORANGE, GREEN)
DASHES = ("solid", "dash", "dot")  # the fourth curve has the first one's colour again


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with its heading; `note` says the unit or how to read it."""

    title: str
    note: str
    figure: Figure


def layout(number_format: str, *, has_legend: bool) -> Figure:
    """Axes, legend above and one hover box for all curves at a step."""
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


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """Five significant digits: what a reader can see, in a page that stays small."""
    return [None if value is None else float(f"{value:.5g}") for value in values]
