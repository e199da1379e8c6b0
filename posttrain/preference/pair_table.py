"""The pair report for people: a table, and some pairs to read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from posttrain.preference.pair_report import PairReport, PairRow
from posttrain.terminal import console, say
from rewards._contest import conversation

NUM_EXAMPLES = 10
_SHOWN = 96  # characters of a text on the screen


def show_report(report: PairReport, examples: Sequence[Mapping[str, Any]]) -> None:
    """Print the table, then each example in four lines."""
    console.print(_table(report))
    for one in examples:
        facts = f"{one['mode']}, rejected: {one['reason']}, tokens {one['chosen_tokens']} / {one['rejected_tokens']}"
        say(escape(f"  query {one['query']}{' of stage 1' if one['reused'] else ''}: {facts}"))
        for what in ("question", "chosen", "rejected"):
            say(escape(f"    {what:<9} {_shortened(one[what])}"))


def make_examples(rows: Sequence[PairRow]) -> list[dict[str, Any]]:
    """Up to ten pairs to read, every reason by its share."""
    by_reason = sorted(rows, key=lambda row: (row["reused"], row["reason"]))
    picked = [by_reason[index * len(rows) // NUM_EXAMPLES] for index in range(NUM_EXAMPLES)] if rows else []
    distinct = {id(row): row for row in picked}
    return [_example(row) for row in distinct.values()]


def _example(row: PairRow) -> dict[str, Any]:
    return {
        "query": row["query"],
        "mode": row["mode"],
        "language": row["language"],
        "reason": row["reason"],
        "reused": row["reused"],
        "question": conversation(json.loads(row["prompt"])[-1:]),
        "chosen": row["chosen_text"],
        "rejected": row["rejected_text"],
        "chosen_tokens": len(row["chosen_ids"]),
        "rejected_tokens": len(row["rejected_ids"]),
    }


def _shortened(text: str) -> str:
    """On one line, with its beginning and its end."""
    line = " ".join(text.split())
    half = _SHOWN // 2
    return line if len(line) <= _SHOWN else f"{line[:half]} … {line[-half:]}"


def _table(report: PairReport) -> Table:
    table = Table("pairs", str(report.pairs), title=f"{report.queries} queries")
    for reason, count in report.reasons.items():
        table.add_row(f"rejected: {reason}", str(count))
    table.add_row("reused from stage 1", str(report.reused))
    for reason, count in report.skipped.items():
        table.add_row(f"queries skipped: {reason}", str(count))
    for reason, count in report.refused.items():
        table.add_row(f"candidates refused: {reason}", str(count))
    table.add_row("both sides correct / wrong", f"{report.both_correct:.0%} / {report.both_wrong:.0%}")
    table.add_row("both sides give the same answer", f"{report.same_answer:.0%}")
    gap = f"{report.length_gap:+.1f}, median {report.median_length_gap:+g}"
    table.add_row("tokens, chosen / rejected", f"{report.chosen_length:.1f} / {report.rejected_length:.1f} ({gap})")
    table.add_row("chosen is the longer side", f"{report.chosen_longer:.0%}")
    in_language = [report.chosen_in_language, report.rejected_in_language]
    shares = " / ".join("unknown" if share is None else f"{share:.0%}" for share in in_language)
    table.add_row("in the question's language, chosen / rejected", shares)
    for name in ("modes", "languages", "domains"):
        table.add_row(name, ", ".join(f"{key} {share:.0%}" for key, share in getattr(report, name).items()))
    return table
