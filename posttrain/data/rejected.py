"""The rows that are set aside: their record, their sum in words, and how many of them a run bears."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

from posttrain.errors import UserError
from posttrain.recipe import SFTDataSection
from posttrain.runs import append_json_lines, written_aside

TOO_LONG = "too long"
LONGEST_DETAIL = 250  # characters of a message; it may quote the row


class Rejected(NamedTuple):
    """A row that is set aside: a line of `rejected.jsonl`."""

    source: str
    file: str
    line: int  # or the number of the row; see `Record`
    reason: str
    detail: str
    tokens: int | None  # of the whole row, where it could be encoded


def in_words(rejected: Sequence[Rejected], *, with_detail: bool = False) -> str:
    """Count, tokens and first place of every reason, the most frequent first."""
    by_reason = defaultdict(list)
    for each in rejected:
        by_reason[each.reason].append(each)
    parts = []
    for reason, group in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        tokens = sum(each.tokens or 0 for each in group)
        first = f"first {group[0].file}:{group[0].line}"
        detail = f": {shorten(group[0].detail, LONGEST_DETAIL)}" if with_detail else ""
        parts.append(f"{reason} {len(group):,} ({f'{tokens:,} tokens, ' if tokens else ''}{first}{detail})")
    return ", ".join(parts)


def write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    """Write a line a row, whole or not at all; without rejected rows there is no file."""
    if rejected:
        with written_aside(path) as aside:
            append_json_lines(aside, [each._asdict() for each in rejected])


def check_share(rejected: Sequence[Rejected], num_rows: int, data: SFTDataSection) -> None:
    """Check that the rejected among all `num_rows` rows are few enough to go on.

    Rows that are too long do not count where the recipe asks to drop them.

    Raises:
        UserError: naming the reasons, how many rows each has, and the first.
    """
    counted = [each for each in rejected if not (data.too_long == "drop" and each.reason == TOO_LONG)]
    if len(counted) > data.rejected_max_share * num_rows:
        raise UserError(
            f"{len(counted):,} of {num_rows:,} rows cannot be used ({len(counted) / num_rows:.1%}; "
            f"data.rejected_max_share is {data.rejected_max_share:.1%}): {in_words(counted, with_detail=True)}; mend "
            "them, or run with a larger data.rejected_max_share, which lists them all in the run's rejected.jsonl"
        )
