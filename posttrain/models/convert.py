"""Turn a full-attention checkpoint into a sliding/full hybrid with the same weights, for ablations by fine-tuning.

A Llama-shaped model becomes a `MinistralForCausalLM`: the same layers under the same names, RoPE in all of them, and a
window where `layer_types` says so. transformers has it; vLLM runs it through its transformers backend. Within the
window its logits are the original's.
"""

from typing import Any

from posttrain.errors import UserError
from posttrain.models.build import layer_types

LLAMA_SHAPED = ("llama", "mistral")
# What Ministral's configuration is given. Everything else that Llama's can say either is not arithmetic or is refused.
KEPT = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
    "rope_parameters",
    "attention_dropout",
)
REFUSED = {
    "qwen2": "vLLM's Qwen2 takes no notice of layer_types: it would run the hybrid with full attention in every layer",
    "qwen3": "vLLM's Qwen3 takes no notice of layer_types: it would run the hybrid with full attention in every layer",
    "exaone4": "the global layers of a hybrid EXAONE have no RoPE; build one with `posttrain model new`",
}


def hybrid_config(config: Any, *, local_layers: int, window: int) -> Any:
    """The hybrid's configuration.

    Args:
        config: Of a model whose layers all have full attention.
        local_layers: Sliding layers before each global one.
        window: Tokens that a sliding layer sees, each itself included.

    Raises:
        UserError: an architecture that has no exact hybrid which both transformers and vLLM run, one that is windowed
            already, or a ratio or a window that leaves no layer sliding.
    """
    from transformers import MinistralConfig

    if config.model_type not in LLAMA_SHAPED:
        reason = REFUSED.get(config.model_type, "no architecture with layer_types is known to have the same arithmetic")
        raise UserError(f"cannot convert a {config.model_type} model: {reason}; need {' or '.join(LLAMA_SHAPED)}")
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        raise UserError("cannot convert a model with biases in attention or FFN: the hybrid architecture has none")
    if getattr(config, "sliding_window", None) is not None:
        raise UserError(
            f"the model has a sliding window of {config.sliding_window} already; need one with full attention"
        )
    if not 1 <= window < config.max_position_embeddings:
        raise UserError(
            f"window: got {window}, need 1 or more and less than the context {config.max_position_embeddings}"
        )
    kinds = layer_types(config.num_hidden_layers, local_layers)
    if "sliding_attention" not in kinds:
        raise UserError(f"a ratio of {local_layers}:1 leaves none of {config.num_hidden_layers} layers sliding")
    return MinistralConfig(
        **{name: getattr(config, name) for name in KEPT},
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        sliding_window=window,
        layer_types=kinds,
        architectures=["MinistralForCausalLM"],
    )


def to_hybrid(model: Any, *, local_layers: int, window: int) -> Any:
    """The hybrid with the model's own weights (shared, not copied) and its generation settings.

    Raises:
        UserError: as `hybrid_config`.
    """
    import torch
    from transformers import MinistralForCausalLM

    config = hybrid_config(model.config, local_layers=local_layers, window=window)
    config.dtype = model.dtype
    with torch.device("meta"):
        hybrid = MinistralForCausalLM(config)
    hybrid.load_state_dict(model.state_dict(), assign=True)
    hybrid.tie_weights()
    hybrid.model.rotary_emb = type(hybrid.model.rotary_emb)(config)  # not in the state: its table is on no device yet
    hybrid.generation_config = model.generation_config
    return hybrid.eval()
