"""What a set of pairs is made of: the counts and lengths that say whether it teaches what it should."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypedDict

from posttrain.preference.pairs import PairOutcome


class PairRow(TypedDict):
    """One row of `pairs.parquet`. Trained are the ids; the texts are there to be read.

    `query` is the row of the data (of stage 1's data where `reused`), `prompt` the messages as JSON.
    """

    query: int
    prompt: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    chosen_text: str
    rejected_text: str
    chosen_outcome: bool | None
    rejected_outcome: bool | None
    mode: str
    language: str | None
    reason: str
    reused: bool


@dataclass(frozen=True, slots=True)
class PairReport:
    """A set of pairs in numbers. Lengths are means in completion tokens, shares are of all pairs.

    Attributes:
        queries: queries that were sampled.
        skipped: queries without a pair, by reason.
        identical: candidates refused because both sides were the same tokens.
        pairs: all pairs, the reused ones included.
        reused: pairs of stage 1 that were mixed in again.
        reasons: the new pairs by why the rejected side was rejected.
        length_gap: rejected minus chosen; above 0 the pairs teach to be brief.
        both_correct: share of pairs whose rejected side is correct too.
    """

    queries: int
    skipped: dict[str, int]
    identical: int
    pairs: int
    reused: int
    reasons: dict[str, int]
    chosen_length: float
    rejected_length: float
    length_gap: float
    both_correct: float
    modes: dict[str, float]
    languages: dict[str, float]


def make_report(rows: Sequence[PairRow], outcomes: Sequence[PairOutcome]) -> PairReport:
    """Sum up the pairs that are to be trained, and the outcome of each query that was sampled."""
    chosen = [len(row["chosen_ids"]) for row in rows]
    rejected = [len(row["rejected_ids"]) for row in rows]
    return PairReport(
        queries=len(outcomes),
        skipped=_counts(outcome.skip_reason for outcome in outcomes if outcome.skip_reason is not None),
        identical=sum(outcome.num_identical for outcome in outcomes),
        pairs=len(rows),
        reused=sum(row["reused"] for row in rows),
        reasons=_counts(row["reason"] for row in rows if not row["reused"]),
        chosen_length=fmean(chosen) if rows else 0.0,
        rejected_length=fmean(rejected) if rows else 0.0,
        length_gap=fmean(rejected) - fmean(chosen) if rows else 0.0,
        both_correct=fmean(bool(row["chosen_outcome"] and row["rejected_outcome"]) for row in rows) if rows else 0.0,
        modes=_shares(row["mode"] for row in rows),
        languages=_shares(row["language"] or "unknown" for row in rows),
    )


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _shares(names: Iterable[str]) -> dict[str, float]:
    counts = _counts(names)
    return {name: count / sum(counts.values()) for name, count in counts.items()}
