"""The sizes of any decoder that the stages train, read from its configuration: what the formulas need, and no more."""

from dataclasses import dataclass
from typing import Any

from posttrain.errors import UserError

# Layers of attention and a gated FFN whose tensors the formulas know: those of the tests, and their like.
KNOWN = ("exaone4", "llama", "mistral", "ministral", "qwen2", "qwen3")
NORMALIZES_QUERIES = ("exaone4", "qwen3")
NORMALIZES_OUTPUTS = ("exaone4",)


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Sizes of a dense decoder.

    Attributes:
        layer_types: The kind of every layer, as transformers names them.
        sliding_window: Tokens that a sliding layer sees; what it is does not matter without one.
        normalizes_queries: Whether each head's queries and keys are normalised.
        normalizes_outputs: Whether norms stand behind attention and FFN (EXAONE 4.0) and not before them.
        attention_bias: Whether the projections of queries, keys and values have a bias (Qwen2).
    """

    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    layer_types: tuple[str, ...]
    sliding_window: int
    vocab_size: int
    tie_word_embeddings: bool
    normalizes_queries: bool
    normalizes_outputs: bool
    attention_bias: bool = False

    @property
    def num_layers(self) -> int:
        """How many layers there are."""
        return len(self.layer_types)


def read_decoder(config: Any) -> DecoderShape:
    """The sizes that a configuration of transformers gives.

    Raises:
        UserError: the formulas do not know the architecture.
    """
    if config.model_type not in KNOWN:
        raise UserError(f"the formulas do not know a {config.model_type} model; they know {', '.join(KNOWN)}")
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return DecoderShape(
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        layer_types=tuple(kinds),
        sliding_window=getattr(config, "sliding_window", None) or config.max_position_embeddings,
        vocab_size=config.vocab_size,
        tie_word_embeddings=config.tie_word_embeddings,
        normalizes_queries=config.model_type in NORMALIZES_QUERIES,
        normalizes_outputs=config.model_type in NORMALIZES_OUTPUTS,
        attention_bias=config.model_type == "qwen2" or getattr(config, "attention_bias", False),
    )
