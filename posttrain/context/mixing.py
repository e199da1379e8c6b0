"""Documents, the user's long rows and the replay of short ones as one stream, shared out by all of their tokens."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_mixers.by_tokens import ByTokens
from data_mixers.contract import Source as MixerSource
from data_mixers.stream import Stream
from posttrain.data.mixing import Drawn, Part


def mix_by_share(
    parts: Mapping[str, Sequence[Part]], shares: Mapping[str, float], *, limit_tokens: float, seed: int
) -> Drawn:
    """Rows of every group in turn, so that at each point the groups' tokens stand as their shares.

    A group that is used up starts again in a new order.

    Args:
        parts: by group.
        shares: of all tokens (not of the trained ones: what a long context costs is what it reads), by group.
        limit_tokens: where the stream ends; the row that would cross it is left out.
        seed: of the order.
    """
    flat = [part for group in parts.values() for part in group]
    groups = [group for group, members in parts.items() for _ in members]
    sources = [
        MixerSource(f"{group}/{number}", group, part.rows.numbers("num_tokens"), part.weight)
        for number, (group, part) in enumerate(zip(groups, flat, strict=True))
    ]
    mixer, streams, num_tokens = ByTokens(shares, on_shortage="repeat"), list[Stream](), 0.0
    while num_tokens < limit_tokens:
        streams.append(mixer(sources, seed=seed + len(streams)))
        num_tokens += _drawn([streams[-1]], flat).num_tokens.sum(dtype=np.int64)
    rows = _drawn(streams, flat)
    end = int(np.searchsorted(np.cumsum(rows.num_tokens, dtype=np.int64), limit_tokens, side="right"))
    return rows[:end]


def _drawn(streams: Sequence[Stream], parts: Sequence[Part]) -> Drawn:
    return Drawn(
        [part.rows for part in parts],
        np.concatenate([stream.source_ids for stream in streams]),
        np.concatenate([stream.rows for stream in streams]),
    )
