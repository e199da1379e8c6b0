"""What a model of a shape costs: parameters, KV cache, attention arithmetic. Formulas, no tensors.

A multiplication with its addition counts as two FLOPs, as everywhere in the field.
"""

from collections.abc import Sequence
from typing import Protocol

KINDS = ("sliding_attention", "full_attention")


class Shape(Protocol):
    """The sizes that costs follow from: `HybridShape` to build a model, `DecoderShape` read from any."""

    @property
    def hidden_size(self) -> int: ...  # noqa: D102
    @property
    def num_layers(self) -> int: ...  # noqa: D102
    @property
    def intermediate_size(self) -> int: ...  # noqa: D102
    @property
    def num_heads(self) -> int: ...  # noqa: D102
    @property
    def num_kv_heads(self) -> int: ...  # noqa: D102
    @property
    def head_dim(self) -> int: ...  # noqa: D102
    @property
    def sliding_window(self) -> int: ...  # noqa: D102
    @property
    def layer_types(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def tie_word_embeddings(self) -> bool: ...  # noqa: D102
    @property
    def normalizes_queries(self) -> bool: ...  # noqa: D102
    @property
    def attention_bias(self) -> bool: ...  # noqa: D102


def parameters(shape: Shape, vocab_size: int) -> dict[str, int]:
    """Parameters of each part; a tied head has none of its own."""
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    embedding = vocab_size * shape.hidden_size
    biases = queries + 2 * keys if shape.attention_bias else 0
    head_norms = 2 * shape.head_dim if shape.normalizes_queries else 0
    return {
        "embedding": embedding,
        "attention": shape.num_layers * (shape.hidden_size * (2 * queries + 2 * keys) + biases),
        "ffn": shape.num_layers * 3 * shape.hidden_size * shape.intermediate_size,
        # of a query's and a key's head; of attention and of the FFN; before the head
        "norms": shape.num_layers * (head_norms + 2 * shape.hidden_size) + shape.hidden_size,
        "head": 0 if shape.tie_word_embeddings else embedding,
    }


def keys_seen(shape: Shape, kind: str, position: int) -> int:
    """Keys that the token at `position`, counted from 1, attends to, itself included."""
    return min(position, shape.sliding_window) if kind == "sliding_attention" else position


def kv_bytes_per_token(shape: Shape, bytes_per_number: int = 2) -> int:
    """Bytes that one layer caches of a token: its keys and its values."""
    return 2 * shape.num_kv_heads * shape.head_dim * bytes_per_number


def kv_cache_bytes(shape: Shape, length: int, bytes_per_number: int = 2) -> int:
    """Bytes of the whole cache after `length` tokens: sliding layers keep a window."""
    tokens = sum(keys_seen(shape, kind, length) for kind in shape.layer_types)
    return tokens * kv_bytes_per_token(shape, bytes_per_number)


def attention_flops(shape: Shape, kind: str, position: int) -> int:
    """FLOPs of one layer's scores and weighted sum for the token at `position`; the projections are in the weights'."""
    return 4 * shape.num_heads * shape.head_dim * keys_seen(shape, kind, position)


def weight_flops(shape: Shape, vocab_size: int) -> int:
    """FLOPs of a token in all matrices: two per weight, the head's included even where it is tied."""
    parts = parameters(shape, vocab_size)
    return 2 * (parts["attention"] + parts["ffn"] + parts["embedding"])


def token_flops(shape: Shape, vocab_size: int, position: int) -> int:
    """FLOPs of the whole forward pass of the token at `position`, with the earlier ones cached."""
    attention = sum(attention_flops(shape, kind, position) for kind in shape.layer_types)
    return weight_flops(shape, vocab_size) + attention
