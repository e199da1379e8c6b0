"""What a stream takes from each source: known before training, exact to the token."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_mixers.stream import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What is taken from some data. Drawn rows and tokens count repeats; shares are parts of all drawn tokens.

    Attributes:
        rows: Rows that there are.
        tokens: Trained tokens that there are.
        drawn_rows: Rows drawn.
        drawn_tokens: Trained tokens drawn.
        repeated_tokens: Those of them that were drawn before.
        left_over_tokens: Trained tokens of the rows that are never drawn.
        asked_share: The share that the mixer is asked for; None where it has no such aim.
        got_share: The share that it gets.
    """

    rows: int
    tokens: int
    drawn_rows: int
    drawn_tokens: int
    repeated_tokens: int
    left_over_tokens: int
    asked_share: float | None
    got_share: float

    @property
    def epochs(self) -> float:
        """Passes over the rows, 1.0 = as many draws as rows."""
        return self.drawn_rows / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan(Usage):
    """What is taken from one source."""

    name: str
    mode: str
    domain: str | None


def summed(usages: Iterable[Usage]) -> Usage:
    """The usage of several sources together."""
    usages = list(usages)
    asked = [usage.asked_share for usage in usages if usage.asked_share is not None]
    return Usage(
        rows=sum(usage.rows for usage in usages),
        tokens=sum(usage.tokens for usage in usages),
        drawn_rows=sum(usage.drawn_rows for usage in usages),
        drawn_tokens=sum(usage.drawn_tokens for usage in usages),
        repeated_tokens=sum(usage.repeated_tokens for usage in usages),
        left_over_tokens=sum(usage.left_over_tokens for usage in usages),
        asked_share=sum(asked) if asked else None,
        got_share=sum(usage.got_share for usage in usages),
    )


@dataclass(frozen=True, slots=True)
class MixPlan:
    """What a stream draws, source by source."""

    sources: tuple[SourcePlan, ...]

    def total(self, mode: str | None = None) -> Usage:
        """All sources together, or those of one mode."""
        return summed(source for source in self.sources if mode in (None, source.mode))


def plan_of(stream: Stream) -> MixPlan:
    """Count what `stream` draws; works on the counts alone."""
    sources = stream.sources
    counts = [np.asarray(source.token_counts, dtype=np.int64) for source in sources]
    firsts = np.concatenate([[0], np.cumsum([len(tokens) for tokens in counts])])  # each source's first row among all
    times_drawn = np.bincount(firsts[stream.source_ids] + stream.rows, minlength=firsts[-1])
    taken: list[dict[str, Any]] = []
    for tokens, first in zip(counts, firsts, strict=False):
        times = times_drawn[first : first + len(tokens)]
        total, left_over, drawn = int(tokens.sum()), int(tokens[times == 0].sum()), int(tokens @ times)
        taken.append(
            {
                "rows": len(tokens),
                "tokens": total,
                "drawn_rows": int(times.sum()),
                "drawn_tokens": drawn,
                "repeated_tokens": drawn - (total - left_over),
                "left_over_tokens": left_over,
            }
        )
    all_drawn = sum(usage["drawn_tokens"] for usage in taken)
    asked = stream.asked_shares or (None,) * len(sources)
    return MixPlan(
        tuple(
            SourcePlan(
                name=source.name,
                mode=source.mode,
                domain=source.domain,
                asked_share=share,
                got_share=usage["drawn_tokens"] / all_drawn if all_drawn else 0.0,
                **usage,
            )
            for source, usage, share in zip(sources, taken, asked, strict=True)
        )
    )
