"""What a set of pairs is made of: the counts and lengths that say whether it teaches what it should."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TypedDict, cast

from posttrain.chat import Mode, parse_completion
from posttrain.preference.pairs import PairOutcome
from rewards._normal import normal


class PairRow(TypedDict):
    """One row of `pairs.parquet`. Trained are the ids; the texts are there to be read.

    `query` is the row of the data (of stage 1's data where `reused`), `prompt` the messages as JSON. `chosen_untrained`
    and `rejected_untrained`: how many of the side's ids, from the first on, bear no loss. `chosen_in_language` and
    `rejected_in_language` say whether the answer is in the question's language; null where nobody asked or could tell.
    """

    query: int
    prompt: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    chosen_untrained: int
    rejected_untrained: int
    chosen_text: str
    rejected_text: str
    chosen_outcome: bool | None
    rejected_outcome: bool | None
    chosen_in_language: bool | None
    rejected_in_language: bool | None
    mode: str
    language: str | None
    domain: str | None
    reason: str
    reused: bool


@dataclass(frozen=True, slots=True)
class PairReport:
    """A set of pairs in numbers. Lengths are completion tokens, shares are of all pairs.

    Attributes:
        queries: queries that were sampled.
        skipped: queries without a pair, by reason (see `PairOutcome`).
        refused: candidates that would have taught nothing or the opposite, by reason (see `PairOutcome`).
        pairs: all pairs, the reused ones included.
        reused: pairs of stage 1 that were mixed in again.
        reasons: the new pairs by why the rejected side was rejected.
        chosen_length: mean.
        rejected_length: mean.
        length_gap: mean of rejected minus chosen; above 0 the pairs teach to be brief.
        median_length_gap: the same for the median.
        chosen_longer: share of pairs whose chosen side is the longer one.
        both_correct: share of pairs whose rejected side is correct too.
        both_wrong: share of pairs whose chosen side is known to be wrong, as the rejected one.
        same_answer: share of pairs whose final answers differ at most in white space, case or the form of characters,
            so that thinking is all that they compare.
        chosen_in_language: share of the chosen answers in the question's language, of those that could be told; None
            where none could.
        rejected_in_language: the same of the rejected ones.
    """

    queries: int
    skipped: dict[str, int]
    refused: dict[str, int]
    pairs: int
    reused: int
    reasons: dict[str, int]
    chosen_length: float
    rejected_length: float
    length_gap: float
    median_length_gap: float
    chosen_longer: float
    both_correct: float
    both_wrong: float
    same_answer: float
    chosen_in_language: float | None
    rejected_in_language: float | None
    modes: dict[str, float]
    languages: dict[str, float]
    domains: dict[str, float]


def make_report(rows: Sequence[PairRow], outcomes: Sequence[PairOutcome]) -> PairReport:
    """Sum up the pairs that are to be trained, and the outcome of each query that was sampled."""
    chosen = [len(row["chosen_ids"]) for row in rows]
    rejected = [len(row["rejected_ids"]) for row in rows]
    gaps = [there - here for here, there in zip(chosen, rejected, strict=True)]
    return PairReport(
        queries=len(outcomes),
        skipped=_counts(outcome.skip_reason for outcome in outcomes if outcome.skip_reason is not None),
        refused=_summed(outcome.refused for outcome in outcomes),
        pairs=len(rows),
        reused=sum(row["reused"] for row in rows),
        reasons=_counts(row["reason"] for row in rows if not row["reused"]),
        chosen_length=_mean(chosen),
        rejected_length=_mean(rejected),
        length_gap=_mean(gaps),
        median_length_gap=float(median(gaps)) if gaps else 0.0,
        chosen_longer=_mean([gap < 0 for gap in gaps]),
        both_correct=_mean([bool(row["chosen_outcome"] and row["rejected_outcome"]) for row in rows]),
        both_wrong=_mean([row["chosen_outcome"] is False and row["rejected_outcome"] is False for row in rows]),
        same_answer=_mean([_answer(row, row["chosen_text"]) == _answer(row, row["rejected_text"]) for row in rows]),
        chosen_in_language=_share_known([row["chosen_in_language"] for row in rows]),
        rejected_in_language=_share_known([row["rejected_in_language"] for row in rows]),
        modes=_shares(row["mode"] for row in rows),
        languages=_shares(row["language"] or "unknown" for row in rows),
        domains=_shares(row["domain"] or "unknown" for row in rows),
    )


def _answer(row: PairRow, text: str) -> str:
    return normal(parse_completion(text, cast("Mode", row["mode"])).answer)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0


def _share_known(values: Sequence[bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    return dict(total.most_common())


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _shares(names: Iterable[str]) -> dict[str, float]:
    counts = _counts(names)
    return {name: count / sum(counts.values()) for name, count in counts.items()}
