"""Attention that costs what a token sees: no work across packed documents, none outside a window.

Shape suffixes: B rows, H heads, L tokens, D head size, W window.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BLOCKS_PAY = 4  # from this many windows on; below, a band of the whole length costs less than cutting it up
SEGMENTS = "segments"  # the name under which transformers knows it: `attn_implementation: segments`


class Segment(NamedTuple):
    """Consecutive tokens of a row that see those before them in the segment, and all of `prefix`.

    Attributes:
        start: The first token.
        stop: One behind the last.
        prefix: Start and stop of the segment that comes before this one, elsewhere in the row; empty: none does.
    """

    start: int
    stop: int
    prefix: tuple[int, int] = (0, 0)


def segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    position_ids: Tensor | None = None,
    segments: Sequence[Segment] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention over `[B, H, L, D]`, exact for rows that are whole, padded on either side, or packed.

    A row falls into documents where `attention_mask` [B, L] has a gap or `position_ids` do not go up by one, so packed
    documents are never seen by each other, whatever else is passed along. `segments`, of a single row, say it outright.

    Returns:
        The output [B, L, H, D], 0 at padding; no weights.
    """
    if query.shape[2] != key.shape[2] or (attention_mask is not None and attention_mask.ndim == 4):
        # Generating with a cache: a few queries against all keys, which is cheap.
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output
    groups = getattr(module, "num_key_value_groups", 1)
    heads = _Heads(query, repeat_kv(key, groups), repeat_kv(value, groups))
    settings: dict[str, Any] = {"window": sliding_window, "scale": scaling, "dropout_p": dropout}
    segments_of = _documents(query, attention_mask, position_ids) if segments is None else [segments]
    if segments_of is None:
        return _attend(heads, **settings).transpose(1, 2).contiguous(), None
    rows = [
        _attend_row(_Heads(*(tensor[row : row + 1] for tensor in heads)), spans, **settings)
        for row, spans in enumerate(segments_of)
    ]
    return torch.cat(rows).transpose(1, 2).contiguous(), None


class _Heads(NamedTuple):
    query: Tensor
    key: Tensor
    value: Tensor

    def part(self, start: int, stop: int) -> "_Heads":
        return _Heads(*(tensor[:, :, start:stop] for tensor in self))


def _documents(
    query: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None
) -> Sequence[Sequence[Segment]] | None:
    """The documents of every row; None: every row is one."""
    num_rows, _, length, _ = query.shape
    is_real = torch.ones(num_rows, length, dtype=torch.bool) if attention_mask is None else attention_mask.bool().cpu()
    goes_on = torch.ones(num_rows, length - 1, dtype=torch.bool)
    if position_ids is not None and position_ids.shape[-1] == length:
        goes_on &= (position_ids[:, 1:] == position_ids[:, :-1] + 1).cpu()
    if bool(is_real.all()) and bool(goes_on.all()):
        return None
    starts = is_real.clone()
    starts[:, 1:] &= ~(is_real[:, :-1] & goes_on)
    return [list(_runs(*both)) for both in zip(starts.tolist(), is_real.tolist(), strict=True)]


def _runs(starts: list[bool], mask: list[bool]) -> Iterator[Segment]:
    """The runs of real tokens, a new one at every start."""
    edges = [index for index, is_start in enumerate(starts) if is_start] + [len(mask)]
    for start, stop in pairwise(edges):
        while not mask[stop - 1]:
            stop -= 1
        yield Segment(start, stop)


def _attend_row(row: _Heads, spans: Sequence[Segment], **settings: Any) -> Tensor:
    """The output of one row, zeros between its segments."""
    edges = sorted({0, row.query.shape[2], *(edge for span in spans for edge in span[:2])})
    # One split for all: a slice for each would give the backward pass a gradient of the whole row for each.
    split = (torch.split(tensor, [stop - start for start, stop in pairwise(edges)], dim=2) for tensor in row)
    pieces = {start: _Heads(*piece) for start, piece in zip(edges, zip(*split, strict=True), strict=False)}
    outputs = {
        span.start: _attend_segment(pieces[span.start], pieces.get(span.prefix[0]), span, **settings) for span in spans
    }
    return torch.cat([outputs.get(start, torch.zeros_like(piece.query)) for start, piece in pieces.items()], dim=2)


def _attend_segment(
    own: _Heads, prefix: _Heads | None, span: Segment, *, window: int | None, **settings: Any
) -> Tensor:
    before, length = span.prefix[1] - span.prefix[0], span.stop - span.start
    if prefix is None or before == 0:
        return _attend(own, window=window, **settings)
    if window is not None and before >= window:  # what the first token of the segment still sees
        prefix, before = prefix.part(before - window + 1, before), window - 1
    joined = _Heads(*(torch.cat(both, dim=2) for both in zip(prefix, own, strict=True)))
    if window is not None and before + length > BLOCKS_PAY * window:
        return _attend(joined, window=window, **settings)[:, :, before:]
    mask = _band(length, before + length, before, window or before + length, str(own.query.device))
    return _dot_product(own.query, joined.key, joined.value, attn_mask=mask, **settings)


def _attend(heads: _Heads, *, window: int | None, **settings: Any) -> Tensor:
    """Causal attention of whole rows: in blocks of the window's size, each of which sees itself and the one before."""
    length = heads.query.shape[2]
    if window is None or length <= window:
        return _dot_product(*heads, is_causal=True, **settings)
    if length <= BLOCKS_PAY * window:
        return _dot_product(*heads, attn_mask=_band(length, length, 0, window, str(heads.query.device)), **settings)
    first = _dot_product(*heads.part(0, window), is_causal=True, **settings)
    # The last block is filled up at the end, where no real query sees it.
    query, key, value = (pad(tensor, (0, 0, 0, -length % window)) for tensor in heads)
    blocks = query[:, :, window:].reshape(len(query), -1, window, query.shape[3])
    keys, values = (_pairs_of_blocks(tensor, window) for tensor in (key, value))
    mask = _band(window, 2 * window, window, window, str(query.device))
    rest = _dot_product(blocks, keys, values, attn_mask=mask, **settings)
    rest = rest.reshape(len(query), query.shape[1], -1, query.shape[3])[:, :, : length - window]
    return torch.cat([first, rest], dim=2)


def _pairs_of_blocks(tensor: Tensor, window: int) -> Tensor:
    """Every block but the first, behind the one before it. (The backward pass of `unfold` takes several times as long.)"""
    blocks = tensor.unflatten(2, (-1, window))
    return torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], dim=3).flatten(1, 2)


def _dot_product(query: Tensor, key: Tensor, value: Tensor, **settings: Any) -> Tensor:
    return scaled_dot_product_attention(query, key, value, **settings)


@lru_cache(maxsize=256)
def _band(queries: int, keys: int, offset: int, window: int, device: str) -> Tensor:
    """Query i stands at key `offset + i` and sees it and the `window - 1` keys before it."""
    band = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return band.tril(offset).triu(offset - window + 1)


def _mask(*, q_length: int, kv_length: int, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """The 2D mask as it is where queries are keys; else what SDPA takes."""
    if q_length == kv_length:
        return attention_mask
    mask: Tensor | None = sdpa_mask(q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **kwargs)
    return mask


AttentionInterface.register(SEGMENTS, segment_attention)
AttentionMaskInterface.register(SEGMENTS, _mask)
