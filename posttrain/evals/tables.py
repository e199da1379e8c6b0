"""The results in a terminal of 80 columns."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

COLUMNS = {  # key in eval.json -> head in the table
    "accuracy": "accuracy %",
    "thinking_tokens": "think",
    "answer_tokens": "answer",
    "mode_adherence": "mode",
    "language_consistency": "lang",
    "truncated": "cut",
    "looping": "loop",
}
CAPTION = (
    "accuracy with its 95 % interval; think, answer: mean tokens; % of answers in the\n"
    "right mode (mode) and language (lang), out of tokens (cut), in circles (loop)"
)


def results_table(label: str, results: Sequence[dict[str, Any]]) -> Table:
    """One line per decoding, over all questions."""
    table = _table(label, CAPTION)
    for head in COLUMNS.values():
        table.add_column(head, justify="right", no_wrap=True)
    for entry in results:
        metrics = entry["groups"]["all"]
        table.add_row(Text(entry["name"]), *(Text(_cell(key, metrics[key])) for key in COLUMNS))
    return table


def benchmarks_table(results: Sequence[dict[str, Any]]) -> Table | None:
    """A block per benchmark, one line per decoding; None where it would say nothing that `results_table` does not."""
    has_samples = any("pass_at" in entry["groups"]["all"] for entry in results)
    names = list(dict.fromkeys(name for entry in results for name in entry["benchmarks"]))
    if len(names) < 2 and not has_samples:
        return None
    table = _table("by benchmark", "average over the samples of a question, pass@k with the largest k, majority")
    table.add_column("questions", justify="right")
    for head in ("accuracy %", *(("pass@k %", "maj %") if has_samples else ())):
        table.add_column(head, justify="right", no_wrap=True)
    for name in names:
        table.add_row(Text(name, style="bold"))
        for entry in results:
            metrics = entry["benchmarks"][name]["groups"]["all"]
            row = [f"  {entry['name']}", f"{metrics['questions']:,}", _cell("accuracy", metrics["accuracy"])]
            table.add_row(*map(Text, [*row, *(_repeated(metrics) if has_samples else ())]))
    return table


def _repeated(metrics: dict[str, Any]) -> list[str]:
    if "pass_at" not in metrics:
        return ["-", "-"]
    k, rate = list(metrics["pass_at"].items())[-1]
    return [f"{_cell('pass_at', rate)} @{k}", _cell("majority", metrics["majority"])]


def _table(title: str, caption: str) -> Table:
    table = Table(
        title=Text(title),
        title_justify="left",
        caption=Text(caption, style="dim"),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    table.add_column("")
    return table


def _cell(key: str, interval: dict[str, float] | None) -> str:
    if interval is None:
        return "-"
    if key.endswith("_tokens"):
        return f"{interval['mean']:.1f}"
    mean, low, high = (f"{100 * interval[bound]:.1f}" for bound in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if key == "accuracy" else mean
