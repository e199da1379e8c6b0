"""Mix by tokens: the unified SFT's REASONING : NON-REASONING = 1.5 : 1 (EXAONE 4.0 section 2.4.1), and domains inside.

The ratio is one of *tokens*, and a reasoning row is many times longer than a direct answer, so neither row counts nor
sampling probabilities give it. Here every draw comes from the group that it brings closest to its share. The realised
ratio is then right at any point of the stream, and not just on average: it is never further off than one row.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from data_mixers._shares import ModeShare, read_shares
from data_mixers._tree import Leaf, Node, Slots, asked_shares, merge
from data_mixers.contract import Source
from data_mixers.plan import plan_of
from data_mixers.stream import Stream

Counts = npt.NDArray[np.integer[Any]]  # trained tokens by row
MAX_DRAWS = 2**31 - 1  # a stream counts in int32


@dataclass(frozen=True)
class ByTokens:
    """Draw rows so that trained tokens are shared out as asked, at every point of the stream.

    The modes share the tokens; where a mode has shares of domains, these share the mode's. At every point, the tokens
    of two modes (or of two domains of a mode), each divided by its share, differ by at most half the largest row of the
    one and half that of the other, divided by their shares: see `data_mixers._tree`. The sources of a group advance
    together, in the same way: with equal weights every source is spread evenly over the stream and all end at about the
    same time; weight 2 doubles the pace.

    The stream goes on until every source has been seen in full. A source that is used up before is a shortage.

    Attributes:
        shares: Tokens by mode, in any unit: `{"reasoning": 1.5, "non_reasoning": 1.0}`; with shares of domains:
            `{"reasoning": {"share": 1.5, "domains": {"math": 2, "code": 1}}, "non_reasoning": 1.0}`.
        on_shortage: What to do when the source that is next has no rows left. "stop": the stream ends, and no row is
            drawn twice. "repeat": the source starts again in a new order. "error": the sources are refused.
        max_epochs: How often a source is drawn at most; 1.5 is once, and half of its rows again. At the cap the stream
            ends ("repeat"; None: no cap) or the sources are refused ("error"; None: 1). Not for "stop".

    Raises:
        ValueError: The settings make no sense, or, at the call, the sources do not fit them.
    """

    shares: Mapping[str, float | Mapping[str, Any]]
    on_shortage: Literal["stop", "repeat", "error"] = "stop"
    max_epochs: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        read_shares(self.shares)
        if self.on_shortage not in ("stop", "repeat", "error"):
            raise ValueError(f"ByTokens got on_shortage={self.on_shortage!r}: it is 'stop', 'repeat' or 'error'")
        if self.max_epochs is not None and self.on_shortage == "stop":
            raise ValueError(
                f"ByTokens got max_epochs={self.max_epochs!r} with on_shortage='stop', which draws no row twice: leave "
                "max_epochs out, or set on_shortage to 'repeat' or 'error'"
            )
        if self.max_epochs is not None and not 1 <= self.max_epochs < math.inf:
            raise ValueError(f"ByTokens got max_epochs={self.max_epochs!r}: it is a number of at least 1")

    def __call__(self, sources: Sequence[Source], *, seed: int) -> Stream:
        """The stream of rows; to resume after `n` draws, go on with `stream[n:]`."""
        shares = read_shares(self.shares)
        counts = [np.asarray(source.token_counts) for source in sources]
        _check(sources, counts, shares)
        root = _tree(sources, counts, shares)
        asked = tuple(share for _, share in sorted(asked_shares(root).items()))

        caps = [self._cap(len(tokens)) for tokens in counts]
        num_draws = [int(min(fair, cap)) for fair, cap in zip(_fair_draws(counts, asked), caps, strict=True)]
        # Until every source is seen in full, or the one that ends the stream is at its cap.
        while True:
            _require_countable(num_draws, sources)
            rows = [_shuffled_passes(source, n, seed) for source, n in zip(sources, num_draws, strict=True)]
            ends = np.cumsum(num_draws)
            slots_of = [range(end - n, end) for end, n in zip(ends, num_draws, strict=True)]
            tokens = np.concatenate([each[order] for each, order in zip(counts, rows, strict=True)])
            slots, ended_by = merge(root, slots_of, tokens)
            last_rows = [span[len(each) - 1] for span, each in zip(slots_of, counts, strict=True)]  # of the first pass
            whole = _length_with_all(slots, last_rows)
            if whole is not None or num_draws[ended_by] == caps[ended_by]:
                break
            num_draws[ended_by] = int(min(2 * num_draws[ended_by], caps[ended_by]))

        drawn = slots[:whole]
        source_ids = np.repeat(np.arange(len(sources), dtype=np.int32), num_draws)
        stream = Stream(tuple(sources), source_ids[drawn], np.concatenate(rows)[drawn], asked)
        if whole is None and self.on_shortage == "error":
            self._refuse(stream, ended_by)
        return stream

    def _cap(self, num_rows: int) -> float:
        """How many rows are drawn at most from a source of `num_rows`."""
        if self.on_shortage == "repeat" and self.max_epochs is None:
            return math.inf
        return math.floor((self.max_epochs or 1) * num_rows)

    def _refuse(self, stream: Stream, ended_by: int) -> NoReturn:
        plan = plan_of(stream)
        scarce = plan.sources[ended_by]
        left_over = [source for source in plan.sources if source.left_over_tokens]
        raise ValueError(
            f"source {scarce.name!r} is used up after {scarce.epochs:.4g} epochs and {scarce.drawn_tokens:,} tokens; "
            + ", ".join(f"{source.left_over_tokens:,} tokens of {source.name!r}" for source in left_over)
            + " were never drawn: add rows, lower its share or weight, raise max_epochs "
            f"(now {self.max_epochs or 1:g}), or set on_shortage to 'stop' or 'repeat'"
        )


def _tree(sources: Sequence[Source], counts: Sequence[Counts], shares: Mapping[str, ModeShare]) -> Node:
    def group(share: float, mode: str, domain: str | None = None) -> Node:
        leaves = [
            Leaf(source.weight * int(tokens.sum()), index)
            for index, (source, tokens) in enumerate(zip(sources, counts, strict=True))
            if source.mode == mode and domain in (None, source.domain)
        ]
        return Node(share, leaves)

    modes = []
    for mode, (share, domains) in shares.items():
        if domains is None:
            modes.append(group(share, mode))
        else:
            modes.append(Node(share, [group(part, mode, domain) for domain, part in domains.items()]))
    return Node(1.0, modes)


def _fair_draws(counts: Sequence[Counts], asked: Sequence[float]) -> list[int]:
    """About how often each source is drawn until all have been seen in full; a guess, rather too high than too low.

    When the last of them has been, every other one is where its share asks for, or a row further.
    """
    totals = [int(tokens.sum()) for tokens in counts]
    whole = max(total / share for total, share in zip(totals, asked, strict=True))
    whole += sum(int(tokens.max()) for tokens in counts)
    return [
        math.ceil(1.01 * len(tokens) * share * whole / total) + 2
        for total, share, tokens in zip(totals, asked, counts, strict=True)
    ]


def _require_countable(num_draws: Sequence[int], sources: Sequence[Source]) -> None:
    if sum(num_draws) > MAX_DRAWS:
        most = max(num_draws)
        raise ValueError(
            f"the stream would take about {sum(num_draws):,} draws, {most:,} of them from source "
            f"{sources[num_draws.index(most)].name!r}: set max_epochs, or lower its share or weight"
        )


def _length_with_all(slots: Slots, wanted: Sequence[int]) -> int | None:
    """The length of the shortest beginning of `slots` with all of `wanted` in it; None: they are not all there."""
    is_wanted = np.zeros(max(slots.max(), *wanted) + 1, dtype=bool)
    is_wanted[wanted] = True
    places = np.flatnonzero(is_wanted[slots])
    return int(places[-1]) + 1 if len(places) == len(wanted) else None


def _shuffled_passes(source: Source, num_draws: int, seed: int) -> npt.NDArray[np.int32]:
    """The first `num_draws` rows of a source that is gone through again and again, each time in a new order."""
    num_rows = len(source.token_counts)
    epochs = range(math.ceil(num_draws / num_rows))
    return np.concatenate([_shuffled(num_rows, source.name, seed, epoch=epoch) for epoch in epochs])[:num_draws]


def _shuffled(num_rows: int, name: str, seed: int, *, epoch: int) -> npt.NDArray[np.int32]:
    """A random order of the rows of one source, its own for every seed and epoch.

    Sorted by raw PCG64 output: numpy promises to keep that stream, but not the algorithm of `Generator.permutation`.
    """
    key = hashlib.sha256(f"{seed}/{epoch}/{name}".encode()).digest()
    raw = np.random.PCG64(int.from_bytes(key, "big")).random_raw(num_rows)
    return np.argsort(raw, kind="stable").astype(np.int32)


def _check(sources: Sequence[Source], counts: Sequence[Counts], shares: Mapping[str, ModeShare]) -> None:
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"two sources have the same name, of {names}: give each a name of its own")
    for source, tokens in zip(sources, counts, strict=True):
        if not 0 < source.weight < math.inf:
            raise ValueError(f"source {source.name!r} has weight {source.weight}: a weight is a positive number")
        if tokens.size == 0:
            raise ValueError(
                f"source {source.name!r} is empty: a source needs at least one row; remove it, or check its path"
            )
        if tokens.min() <= 0:
            raise ValueError(
                f"source {source.name!r} has {int((tokens <= 0).sum())} rows without trained tokens, the first is "
                f"row {int((tokens <= 0).argmax())}: drop them before mixing (was the answer cut off or masked?)"
            )
    _check_groups(
        "mode", sources, {mode: each.share for mode, each in shares.items()}, "the sources share their tokens"
    )
    for mode, (_, domains) in shares.items():
        if domains is not None:
            members = [source for source in sources if source.mode == mode]
            _check_groups("domain", members, domains, f"mode {mode!r} shares its tokens")


def _check_groups(
    kind: Literal["mode", "domain"], sources: Sequence[Source], shares: Mapping[str, float], who: str
) -> None:
    """Every source's mode, or domain, has a share, and every share a source."""
    found = {source.name: getattr(source, kind) for source in sources}
    num_rows = {source.name: len(source.token_counts) for source in sources if found[source.name] not in shares}
    if num_rows:
        which = ", ".join(
            f"{rows:,} of {name!r} have " + (f"no {kind}" if found[name] is None else f"{kind} {found[name]!r}")
            for name, rows in num_rows.items()
        )
        raise ValueError(
            f"{who} by {kind}, and {sum(num_rows.values()):,} rows belong to no share ({which}); the shares are for "
            f"{list(shares)}: add a share, give the rows another {kind}, or remove them"
        )
    for name, share in shares.items():
        if name not in found.values():
            raise ValueError(
                f"{who} by {kind}, and {name!r} has the share {share} but no source: add one, or remove the "
                f"share; the sources have {sorted({str(group) for group in found.values()})}"
            )
