"""Build a model of the EXAONE 4.0 family from nothing (paper section 2.1)."""

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class HybridShape:
    """Sizes of an `Exaone4ForCausalLM`; `local_layers` sliding layers precede each global one.

    Without local layers every layer is global. `vocab_size` None is the tokenizer's. `initializer_range` is the
    standard deviation of the untrained matrices.
    """

    hidden_size: int = 128
    num_layers: int = 4
    intermediate_size: int = 384
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 32
    sliding_window: int = 64
    local_layers: int = 3
    max_position_embeddings: int = 1024
    rope_theta: float = 10_000.0
    tie_word_embeddings: bool = False
    vocab_size: int | None = None
    initializer_range: float = 0.08

    @property
    def layer_types(self) -> list[str]:
        """The kind of every layer."""
        return layer_types(self.num_layers, self.local_layers)

    @property
    def normalizes_queries(self) -> bool:
        """Every EXAONE 4.0 normalises each head's queries and keys."""
        return True

    @property
    def attention_bias(self) -> bool:
        """No EXAONE 4.0 has a bias."""
        return False


# The demo's model, and the paper's (table 1): its smaller one is not hybrid.
PRESETS = {
    "tiny": HybridShape(),
    "exaone-4.0-1.2b": HybridShape(
        hidden_size=2048,
        num_layers=30,
        intermediate_size=4096,
        num_heads=32,
        num_kv_heads=8,
        head_dim=64,
        local_layers=0,
        max_position_embeddings=65_536,
        rope_theta=1e6,
        tie_word_embeddings=True,
        vocab_size=102_400,
        initializer_range=0.02,
    ),
    "exaone-4.0-32b": HybridShape(
        hidden_size=5120,
        num_layers=64,
        intermediate_size=27_392,
        num_heads=40,
        num_kv_heads=8,
        head_dim=128,
        sliding_window=4096,
        max_position_embeddings=131_072,
        rope_theta=1e6,
        vocab_size=102_400,
        initializer_range=0.02,
    ),
}


def layer_types(num_layers: int, local_layers: int) -> list[str]:
    """`local_layers` sliding layers, then one global, repeated; the last layer is always global (paper, table 1)."""
    period = local_layers + 1
    types = ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(num_layers)]
    types[-1] = "full_attention"
    return types


def model_config(shape: HybridShape, **token_ids: int | None) -> Any:
    """The `Exaone4Config` of a shape whose vocabulary is known.

    `layer_types` is always written out: the configuration class fails on a pattern string. Without a sliding layer
    there is no window either, which is how transformers knows that the global layers have RoPE.
    """
    from transformers import Exaone4Config

    kinds = shape.layer_types
    return Exaone4Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        intermediate_size=shape.intermediate_size,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        sliding_window=shape.sliding_window if "sliding_attention" in kinds else None,
        layer_types=kinds,
        max_position_embeddings=shape.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tie_word_embeddings,
        initializer_range=shape.initializer_range,
        **token_ids,
    )


def build_model(shape: HybridShape, tokenizer: Any, *, seed: int) -> Any:
    """A freshly initialised model that fits `tokenizer`.

    The tiny model's weights start at std 0.08 and every model's embeddings at 1.0, because post-norm blocks add
    unit-scale outputs to the residual stream and would drown the usual 0.02 embedding.

    Raises:
        ValueError: the shape's vocabulary is smaller than the tokenizer's.
    """
    import torch
    from transformers import Exaone4ForCausalLM, GenerationConfig, set_seed

    vocab_size = shape.vocab_size or len(tokenizer)
    if vocab_size < len(tokenizer):
        raise ValueError(f"got vocab_size {vocab_size}, need at least the tokenizer's {len(tokenizer)}")
    tokens = {
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    set_seed(seed)
    model = Exaone4ForCausalLM(model_config(replace(shape, vocab_size=vocab_size), **tokens))
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(std=1.0)
    model.generation_config = GenerationConfig(**tokens)
    return model
