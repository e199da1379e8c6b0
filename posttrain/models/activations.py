"""What a layer and the head keep for the backward pass, in bytes: what autograd saves, counted tensor by tensor.

A tensor that several operations save is counted once, and a view counts as all that it keeps alive. The formulas for
our own attention and for `sdpa` are held against PyTorch on a CPU; those for FlashAttention are what its kernel says it
saves, and not measured.

Letters: H hidden size, F intermediate size, Q numbers of a token's queries, K those of its keys, b bytes of a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from posttrain.models.attention import BLOCKS_PAY, LONGEST_BAND, SMALLEST_BLOCK
from posttrain.models.decoder import DecoderShape

SLIDING = "sliding_attention"
FLOAT32 = 4  # bytes
ATTENTION_INPUTS = ("q_proj", "k_proj", "v_proj")
FFN_INPUTS = ("gate_proj", "up_proj")
PROJECTIONS = (*ATTENTION_INPUTS, "o_proj", *FFN_INPUTS, "down_proj")


@dataclass(frozen=True, slots=True)
class Adapters:
    """LoRA adapters: their rank, the projections of every layer that have one, and whether they stay in float32.

    PEFT keeps them so over a model in 16 bit, and then the input of each is cast there and back, and kept, by itself.
    """

    rank: int
    targets: frozenset[str] = frozenset(PROJECTIONS)
    are_float32: bool = True


@dataclass(frozen=True, slots=True)
class Rows:
    """What a process computes at a time.

    Attributes:
        tokens: Of a row, padding included.
        rows: How many.
        documents: Lengths of those that a row packs; none: a row is one sequence.
        branches: Of responses that share a prompt: the prompt's length and their own. The prompt is a document, too.
        trained: Tokens that bear loss, in all rows: the head is applied to no others.
    """

    tokens: int
    rows: int = 1
    documents: tuple[int, ...] = ()
    branches: tuple[tuple[int, int], ...] = ()
    trained: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that a layer keeps, and what comes on top of them at the worst moment of its backward pass."""

    attention: int
    ffn: int
    transient: int

    @property
    def total(self) -> int:
        """Bytes kept."""
        return self.attention + self.ffn


def layer_kept(
    shape: DecoderShape, kind: str, rows: Rows, *, number: int, attention: str, adapters: Adapters | None = None
) -> Kept:
    """Bytes of one layer.

    Args:
        shape: The model's sizes.
        kind: Of the layer.
        rows: What it computes.
        number: Bytes of a number: 4 in float32, 2 in 16 bit. Norms compute in float32 in any case.
        attention: The implementation, `segments`, `sdpa` or one of FlashAttention.
        adapters: What is trained; None: all weights.
    """
    hidden, width, queries, keys = _widths(shape)
    tokens = rows.rows * rows.tokens
    attends = _projection_inputs(ATTENTION_INPUTS, hidden, number, adapters)
    if shape.normalizes_queries:
        attends += _norm(queries, shape.num_heads, number, adapters) + _norm(keys, shape.num_kv_heads, number, adapters)
    feeds = _projection_inputs(FFN_INPUTS, hidden, number, adapters)
    feeds += 3 * width * number  # SiLU's input and output, and what its output is multiplied with
    feeds += _projection_inputs(("down_proj",), width, number, adapters)
    norm = _norm(hidden, 1, number, adapters)
    of_adapters = sum(adapters.rank for _ in adapters.targets) * number if adapters else 0
    of_output = _projection_inputs(("o_proj",), queries, number, adapters)
    if _are_cast(number, adapters):
        attends, of_output = attends + of_output, 0
    core = rows.rows * _core(shape, kind, rows, number, attention, is_output_kept=of_output > 0)
    return Kept(
        attention=tokens * (attends + norm) + core,
        ffn=tokens * (feeds + norm + of_adapters),
        transient=tokens * (2 * width + 3 * hidden) * number,
    )


def final_norm_kept(shape: DecoderShape, rows: Rows, *, number: int, adapters: Adapters | None = None) -> int:
    """Bytes of the norm before the head."""
    return rows.rows * rows.tokens * _norm(shape.hidden_size, 1, number, adapters)


def _norm(size: int, heads: int, number: int, adapters: Adapters | None) -> int:
    """Its input in float32 and a factor per head; its normalised input where the weight is trained."""
    return size * (FLOAT32 + (number if adapters is None else 0)) + FLOAT32 * heads


def _projection_inputs(names: Sequence[str], size: int, number: int, adapters: Adapters | None) -> int:
    """The input that these projections share, which only a trained one keeps, or each adapter's own cast of it."""
    trained = sum(adapters is None or name in adapters.targets for name in names)
    return size * number * (trained if _are_cast(number, adapters) else min(trained, 1))


def _are_cast(number: int, adapters: Adapters | None) -> bool:
    return adapters is not None and adapters.are_float32 and number != FLOAT32


def _core(shape: DecoderShape, kind: str, rows: Rows, number: int, attention: str, *, is_output_kept: bool) -> int:
    """Of a row: queries, keys, values and output as the kernel takes and gives them, its sums, and its masks."""
    _, _, queries, keys = _widths(shape)
    sums = FLOAT32 * shape.num_heads * rows.tokens
    window = shape.sliding_window if kind == SLIDING else None
    is_unmasked = not rows.documents and (window is None or rows.tokens <= window)
    if attention.startswith("flash") or (attention == "sdpa" and is_unmasked):
        return rows.tokens * (2 * queries + 2 * keys) * number + sums
    numbers = 3 * rows.tokens * queries  # keys and values are repeated for every head of queries
    if attention == "sdpa":
        return (numbers + rows.tokens * queries + rows.tokens**2) * number + sums
    copies = [_segment_copies(length, window) for length in rows.documents or (rows.tokens,)]
    copies += [_branch_copies(*branch, window) for branch in rows.branches]
    is_copied = bool(rows.documents) or copies[0].is_cut  # into the place and the order that the projection wants
    numbers += queries * (sum(copy.tokens for copy in copies) + (rows.tokens if is_copied and is_output_kept else 0))
    return (numbers + sum(copy.mask for copy in copies)) * number + sums


@dataclass(frozen=True, slots=True)
class _Copies:
    """Of one document: what is kept beside its queries, keys and values, in tokens, the output among it."""

    tokens: int
    mask: int = 0  # numbers
    is_cut: bool = False


def _segment_copies(length: int, window: int | None) -> _Copies:
    """Follows `posttrain.models.attention`: whole, under a band, or in blocks."""
    if window is None or length <= window:
        return _Copies(length)
    if length <= min(BLOCKS_PAY * window, LONGEST_BAND):
        return _Copies(length, mask=length**2)
    block = min(window, max(SMALLEST_BLOCK, window // 4))
    reach = -(-window // block) * block
    front, end = reach - window, (window - length) % block
    keys_and_values, queries = 2 * (length + front + end), length - window + end
    output = length + end
    return _Copies(keys_and_values + queries + output, mask=block * (reach + block), is_cut=True)


def _branch_copies(prompt: int, response: int, window: int | None) -> _Copies:
    """A response after a prompt that is elsewhere in the row: both are joined, as far as the window reaches."""
    before = prompt if window is None else min(prompt, window - 1)
    joined = before + response
    if window is not None and joined > BLOCKS_PAY * window:
        cut = _segment_copies(joined, window)
        return _Copies(3 * joined + cut.tokens, cut.mask, is_cut=True)
    return _Copies(2 * joined + response, mask=response * joined)


def _widths(shape: DecoderShape) -> tuple[int, int, int, int]:
    """H, F, Q, K."""
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    return shape.hidden_size, shape.intermediate_size, queries, keys
