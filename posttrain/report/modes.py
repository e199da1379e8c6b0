"""What each decoding costs and gives: lengths, speed and what goes wrong, by stage."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from posttrain.report.load import StageRun
from posttrain.report.words import NOTHING, count, percent


class ModeTable(NamedTuple):
    """Heads with their units, and by stage rows of (decoding, what is written in each column)."""

    heads: list[tuple[str, str]]
    stages: dict[str, list[tuple[str, list[str]]]]


# Key in `eval.json`, head, unit, how it is written.
QUANTITIES: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    ("accuracy", "Accuracy", "%", percent),
    ("majority", "Majority", "%", percent),
    ("thinking_tokens", "Thinking", "tokens", count),
    ("answer_tokens", "Answer", "tokens", count),
    ("latency", "Latency", "s", lambda seconds: f"{seconds:.2f}"),
    ("tokens_per_second", "Speed", "tokens/s", count),
    ("thinks", "Thinks", "%", percent),
    ("budget_reached", "At budget", "%", percent),
    ("truncated", "Cut off", "%", percent),
    ("looping", "Loops", "%", percent),
)


def mode_table(stages: Sequence[StageRun]) -> ModeTable:
    """Only what was measured somewhere; pass@k in a column for each k."""
    measured = [
        (stage.name, name, decoding.groups["all"].metrics)
        for stage in stages
        if stage.evaluation
        for name, decoding in stage.evaluation.decodings.items()
        if "all" in decoding.groups
    ]
    tries = sorted({key for *_, metrics in measured for key in metrics if key.startswith("pass@")})
    known = [*QUANTITIES[:1], *((key, key, "%", percent) for key in tries), *QUANTITIES[1:]]
    columns = [each for each in known if any(each[0] in metrics for *_, metrics in measured)]
    rows: dict[str, list[tuple[str, list[str]]]] = {}
    for stage, name, metrics in measured:
        written = [write(metrics[key].mean) if key in metrics else NOTHING for key, _, _, write in columns]
        rows.setdefault(stage, []).append((name, written))
    return ModeTable([(head, unit) for _, head, unit, _ in columns], rows)
