"""What a model of a shape costs: parameters, KV cache, attention arithmetic. Formulas, no tensors.

A multiplication with its addition counts as two FLOPs, as everywhere in the field.
"""

from posttrain.models.build import HybridShape

KINDS = ("sliding_attention", "full_attention")


def parameters(shape: HybridShape, vocab_size: int) -> dict[str, int]:
    """Parameters of each part; a tied head has none of its own."""
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    embedding = vocab_size * shape.hidden_size
    return {
        "embedding": embedding,
        "attention": shape.num_layers * shape.hidden_size * (2 * queries + 2 * keys),
        "ffn": shape.num_layers * 3 * shape.hidden_size * shape.intermediate_size,
        # of a query's and a key's head; after attention, after the FFN; before the head
        "norms": shape.num_layers * (2 * shape.head_dim + 2 * shape.hidden_size) + shape.hidden_size,
        "head": 0 if shape.tie_word_embeddings else embedding,
    }


def keys_seen(shape: HybridShape, kind: str, position: int) -> int:
    """Keys that the token at `position`, counted from 1, attends to, itself included."""
    return min(position, shape.sliding_window) if kind == "sliding_attention" else position


def kv_bytes_per_token(shape: HybridShape, bytes_per_number: int = 2) -> int:
    """Bytes that one layer caches of a token: its keys and its values."""
    return 2 * shape.num_kv_heads * shape.head_dim * bytes_per_number


def kv_cache_bytes(shape: HybridShape, length: int, bytes_per_number: int = 2) -> int:
    """Bytes of the whole cache after `length` tokens: sliding layers keep a window."""
    tokens = sum(keys_seen(shape, kind, length) for kind in shape.layer_types)
    return tokens * kv_bytes_per_token(shape, bytes_per_number)


def attention_flops(shape: HybridShape, kind: str, position: int) -> int:
    """FLOPs of one layer's scores and weighted sum for the token at `position`; the projections are in the weights'."""
    return 4 * shape.num_heads * shape.head_dim * keys_seen(shape, kind, position)


def weight_flops(shape: HybridShape, vocab_size: int) -> int:
    """FLOPs of a token in all matrices: two per weight, the head's included even where it is tied."""
    parts = parameters(shape, vocab_size)
    return 2 * (parts["attention"] + parts["ffn"] + parts["embedding"])


def token_flops(shape: HybridShape, vocab_size: int, position: int) -> int:
    """FLOPs of the whole forward pass of the token at `position`, with the earlier ones cached."""
    attention = sum(attention_flops(shape, kind, position) for kind in shape.layer_types)
    return weight_flops(shape, vocab_size) + attention
