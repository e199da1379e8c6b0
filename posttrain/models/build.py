"""Build a hybrid-attention EXAONE 4 model from nothing (paper section 2.1)."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class HybridShape:
    """Sizes of an `Exaone4ForCausalLM`; `local_layers` sliding layers precede each global one."""

    hidden_size: int = 128
    num_layers: int = 4
    intermediate_size: int = 384
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 32
    sliding_window: int = 64
    local_layers: int = 3
    max_position_embeddings: int = 1024
    tie_word_embeddings: bool = False


def layer_types(num_layers: int, local_layers: int) -> list[str]:
    """`local_layers` sliding layers, then one global, repeated; the last layer is always global (paper, table 1)."""
    period = local_layers + 1
    types = ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(num_layers)]
    types[-1] = "full_attention"
    return types


def build_model(shape: HybridShape, tokenizer: Any, *, seed: int) -> Any:
    """A freshly initialised model that fits `tokenizer`.

    `layer_types` is always written out: the configuration class fails on a pattern string. Weights start at std 0.08
    and embeddings at 1.0, because post-norm blocks add unit-scale outputs to the residual stream and would drown the
    usual 0.02 embedding.
    """
    import torch
    from transformers import Exaone4Config, Exaone4ForCausalLM, GenerationConfig, set_seed

    config = Exaone4Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        intermediate_size=shape.intermediate_size,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        sliding_window=shape.sliding_window,
        layer_types=layer_types(shape.num_layers, shape.local_layers),
        max_position_embeddings=shape.max_position_embeddings,
        tie_word_embeddings=shape.tie_word_embeddings,
        initializer_range=0.08,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    set_seed(seed)
    model = Exaone4ForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(std=1.0)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.eos_token_id
    )
    return model
