"""Mix by tokens: the unified SFT's REASONING : NON-REASONING = 1.5 : 1 (EXAONE 4.0 section 2.4.1).

The ratio is one of *tokens*, and a reasoning row is many times longer than a direct answer, so neither row counts nor
sampling probabilities give it. Here every draw comes from the mode that is furthest behind its share. The realised
ratio is then right at any point of the stream, and not just on average: it is never further off than one row.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Literal

import numpy as np

from data_mixers.contract import Draw, Source


@dataclass(frozen=True)
class ByTokens:
    """Draw rows so that the trained tokens of the modes are in a given ratio at every point of the stream.

    Between modes the shares decide, in tokens: after any number of draws, the tokens of two modes, each divided by its
    share, differ by at most the largest row of either, divided by its share. Inside a mode the sources advance
    together: next is the one of which the smallest part has been drawn, that part divided by its weight. With equal
    weights every source is spread evenly over the stream and all end at about the same time; weight 2 doubles the pace.

    Attributes:
        shares: Tokens by mode, in any unit: `{"reasoning": 1.5, "non_reasoning": 1.0}`.
        on_shortage: What to do when the source that is next has no rows left. "stop": the stream ends; `plan` tells
            what is left over. "repeat": that source starts again in a new order, until every source was seen in full.

    Raises:
        ValueError: The settings make no sense, or, at the call, the sources do not fit them.
    """

    shares: Mapping[str, float]
    on_shortage: Literal["stop", "repeat"] = "stop"

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        if not self.shares:
            raise ValueError(
                "ByTokens got no shares: give one for each mode, such as {reasoning: 1.5, non_reasoning: 1.0}"
            )
        for mode, share in self.shares.items():
            if not 0 < share < math.inf:
                raise ValueError(
                    f"ByTokens got the share {share} for mode {mode!r}: a share is a positive number; to leave a mode "
                    "out, remove its share and its sources"
                )
        if self.on_shortage not in ("stop", "repeat"):
            raise ValueError(f"ByTokens got on_shortage={self.on_shortage!r}: it is either 'stop' or 'repeat'")

    def __call__(self, sources: Sequence[Source], *, seed: int) -> Iterator[Draw]:
        """The stream of rows; the sources are checked at once, not at the first draw.

        To resume after `n` draws, skip them: `itertools.islice(mixer(sources, seed=seed), n, None)`.
        """
        self._check(sources)
        return (Draw(sources[i].name, row) for i, row in self._stream(sources, seed))

    def plan(self, sources: Sequence[Source], *, seed: int) -> "MixPlan":
        """What the stream of the same seed will draw; it walks through the stream, a million rows in seconds."""
        self._check(sources)
        drawn_rows, drawn_tokens = [0] * len(sources), [0] * len(sources)
        counts = [np.asarray(source.token_counts).tolist() for source in sources]
        for i, row in self._stream(sources, seed):
            drawn_rows[i] += 1
            drawn_tokens[i] += counts[i][row]
        pull = [source.weight * sum(tokens) for source, tokens in zip(sources, counts, strict=True)]
        total = sum(drawn_tokens)
        plans = []
        for i, source in enumerate(sources):
            mode_pull = sum(pull[j] for j, other in enumerate(sources) if other.mode == source.mode)
            tokens = sum(counts[i])
            plans.append(
                SourcePlan(
                    name=source.name,
                    mode=source.mode,
                    rows=len(counts[i]),
                    tokens=tokens,
                    drawn_rows=drawn_rows[i],
                    drawn_tokens=drawn_tokens[i],
                    epochs=drawn_rows[i] / len(counts[i]),
                    left_over_tokens=tokens - drawn_tokens[i] if drawn_rows[i] < len(counts[i]) else 0,
                    asked_share=self.shares[source.mode] / sum(self.shares.values()) * pull[i] / mode_pull,
                    got_share=drawn_tokens[i] / total if total else 0.0,
                )
            )
        return MixPlan(tuple(plans))

    def _stream(self, sources: Sequence[Source], seed: int) -> Iterator[tuple[int, int]]:
        """Pairs of source index and row: of the mode that is furthest behind, the source that is furthest behind."""
        counts = [np.asarray(source.token_counts).tolist() for source in sources]
        pulls = [source.weight * sum(tokens) for source, tokens in zip(sources, counts, strict=True)]
        orders = [_shuffled(len(source.token_counts), source.name, seed, epoch=0) for source in sources]
        cursors, epochs, drawn = [0] * len(sources), [0] * len(sources), [0] * len(sources)
        # Heap entries are (how far ahead, index): the index breaks ties by the order of the sources.
        members = [[(0.0, i) for i, source in enumerate(sources) if source.mode == mode] for mode in self.shares]
        modes = [(0.0, m) for m in range(len(members))]
        shares, mode_tokens = list(self.shares.values()), [0] * len(members)
        heapify(modes)
        unseen = len(sources)
        while True:
            m = modes[0][1]
            i = members[m][0][1]
            if cursors[i] == len(orders[i]):
                if self.on_shortage == "stop":
                    return
                epochs[i] += 1
                cursors[i] = 0
                orders[i] = _shuffled(len(orders[i]), sources[i].name, seed, epoch=epochs[i])
            row = orders[i][cursors[i]]
            yield i, row
            cursors[i] += 1
            tokens = counts[i][row]
            drawn[i] += tokens
            mode_tokens[m] += tokens
            heapreplace(members[m], (drawn[i] / pulls[i], i))
            heapreplace(modes, (mode_tokens[m] / shares[m], m))
            if epochs[i] == 0 and cursors[i] == len(orders[i]):
                unseen -= 1
                if unseen == 0 and self.on_shortage == "repeat":
                    return

    def _check(self, sources: Sequence[Source]) -> None:
        names = [source.name for source in sources]
        if len(set(names)) < len(names):
            raise ValueError(f"two sources have the same name, of {names}: give each a name of its own")
        for mode in self.shares:
            if all(source.mode != mode for source in sources):
                raise ValueError(
                    f"mode {mode!r} has the share {self.shares[mode]} but no source: add a source of this mode, or "
                    f"remove the share; the sources have {sorted({source.mode for source in sources})}"
                )
        for source in sources:
            if source.mode not in self.shares:
                raise ValueError(
                    f"source {source.name!r} has mode {source.mode!r}, but the shares are for {list(self.shares)}: "
                    "add a share for this mode, or remove the source"
                )
            if not 0 < source.weight < math.inf:
                raise ValueError(f"source {source.name!r} has weight {source.weight}: a weight is a positive number")
            counts = np.asarray(source.token_counts)
            if counts.size == 0:
                raise ValueError(
                    f"source {source.name!r} is empty: a source needs at least one row; remove it, or check its path"
                )
            if counts.min() <= 0:
                raise ValueError(
                    f"source {source.name!r} has {int((counts <= 0).sum())} rows without trained tokens, the first is "
                    f"row {int((counts <= 0).argmax())}: drop them before mixing (was the answer cut off or masked?)"
                )


def _shuffled(num_rows: int, name: str, seed: int, *, epoch: int) -> list[int]:
    """A random order of the rows of one source, its own for every seed and epoch.

    Sorted by raw PCG64 output: numpy promises to keep that stream, but not the algorithm of `Generator.permutation`.
    """
    key = hashlib.sha256(f"{seed}/{epoch}/{name}".encode()).digest()
    raw = np.random.PCG64(int.from_bytes(key, "big")).random_raw(num_rows)
    order: list[int] = np.argsort(raw, kind="stable").tolist()
    return order


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What a stream takes from one source. Rows and tokens count repeats; shares are parts of all drawn tokens.

    Attributes:
        name: The source.
        mode: Its mode.
        rows: Rows that it has.
        tokens: Trained tokens that it has.
        drawn_rows: Rows drawn.
        drawn_tokens: Trained tokens drawn.
        epochs: Passes over the source, 1.0 = every row once.
        left_over_tokens: Tokens of the rows that are never drawn.
        asked_share: The share of all drawn tokens that shares and weights ask for.
        got_share: The share that it gets.
    """

    name: str
    mode: str
    rows: int
    tokens: int
    drawn_rows: int
    drawn_tokens: int
    epochs: float
    left_over_tokens: int
    asked_share: float
    got_share: float


@dataclass(frozen=True, slots=True)
class MixPlan:
    """What a stream draws, source by source."""

    sources: tuple[SourcePlan, ...]

    @property
    def drawn_rows(self) -> int:
        """Rows of the whole stream."""
        return sum(source.drawn_rows for source in self.sources)

    @property
    def drawn_tokens(self) -> int:
        """Trained tokens of the whole stream."""
        return sum(source.drawn_tokens for source in self.sources)

    def tokens_of(self, mode: str) -> int:
        """Trained tokens drawn from the sources of a mode: the realised ratio is one of these over another."""
        return sum(source.drawn_tokens for source in self.sources if source.mode == mode)
