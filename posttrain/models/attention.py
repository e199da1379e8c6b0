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

SEGMENTS = "segments"  # the name under which transformers knows it: `attn_implementation: segments`
BLOCKS_PAY = 4  # from this many windows on; below, a band of the whole length costs less than cutting it up
LONGEST_BAND = 1024  # of queries: it takes memory in the square
SMALLEST_BLOCK = 64  # of queries: smaller ones waste fewer masked keys and more on calls and copies


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
    """Causal attention of whole rows: in blocks of queries, each of which gets the keys that its window can reach."""
    length = heads.query.shape[2]
    if window is None or length <= window:
        return _dot_product(*heads, is_causal=True, **settings)
    if length <= min(BLOCKS_PAY * window, LONGEST_BAND):
        return _dot_product(*heads, attn_mask=_band(length, length, 0, window, str(heads.query.device)), **settings)
    first = _dot_product(*heads.part(0, window), is_causal=True, **settings)
    block = min(window, max(SMALLEST_BLOCK, window // 4))
    reach = -(-window // block) * block  # the window in whole blocks
    # Keys are filled up in front and all at the end, where the mask hides them from every real query.
    front, end = reach - window, (window - length) % block
    num_rows, num_heads, _, size = heads.query.shape
    query = pad(heads.query[:, :, window:].flatten(0, 1), (0, 0, 0, end)).view(num_rows * num_heads, -1, block, size)
    key, value = (pad(tensor.flatten(0, 1), (0, 0, front, end)) for tensor in (heads.key, heads.value))
    near_keys, near_values = _reach(key, block, reach + block), _reach(value, block, reach + block)
    mask = _band(block, reach + block, reach, window, str(query.device))
    rest = _dot_product(query, near_keys, near_values, attn_mask=mask, **settings)
    rest = rest.view(num_rows, num_heads, -1, size)[:, :, : length - window]
    return torch.cat([first, rest], dim=2)


def _reach(tensor_NLD: Tensor, step: int, size: int) -> Tensor:
    pieces: Tensor = _Reach.apply(tensor_NLD, step, size)  # type: ignore[no-untyped-call]  # torch's, of every Function
    return pieces


class _Reach(torch.autograd.Function):
    """`[N, L, D]` to overlapping pieces `[N, pieces, size, D]`, one begun at every `step`; `size` is a multiple of it.

    A view, so that no copies are kept for the backward pass, and whole blocks are summed there: `unfold` scatters.
    """

    @staticmethod
    def forward(ctx: Any, tensor_NLD: Tensor, step: int, size: int) -> Tensor:
        ctx.step = step
        return tensor_NLD.unfold(1, size, step).transpose(-1, -2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, num_pieces, _, size = gradient.shape
        pieces = gradient.reshape(rows, num_pieces, -1, ctx.step, size)
        parts = pieces.shape[2]
        total = gradient.new_zeros(rows, num_pieces + parts - 1, ctx.step, size)
        for part in range(parts):
            total[:, part : part + num_pieces] += pieces[:, :, part]
        return total.flatten(1, 2), None, None


def _dot_product(query: Tensor, key: Tensor, value: Tensor, **settings: Any) -> Tensor:
    return scaled_dot_product_attention(query, key, value, **settings)


def _band(queries: int, keys: int, offset: int, window: int, device: str) -> Tensor:
    """Query i stands at key `offset + i` and sees it and the `window - 1` keys before it."""
    make = _kept_band if queries * keys <= LONGEST_BAND**2 else _kept_band.__wrapped__
    return make(queries, keys, offset, window, device)


@lru_cache(maxsize=64)
def _kept_band(queries: int, keys: int, offset: int, window: int, device: str) -> Tensor:
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
