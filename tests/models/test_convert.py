"""A converted model is the original within its window, and another beyond it."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from posttrain.errors import UserError
from posttrain.models.convert import hybrid_config, to_hybrid
from posttrain.models.probe import probe_model

WINDOW = 8
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-3,
    "initializer_range": 0.3,
}
LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def build(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.eval()


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES),
        LlamaConfig(**SIZES, tie_word_embeddings=True, head_dim=16),
        LlamaConfig(**SIZES, rope_parameters=LLAMA_3_ROPE),
        MistralConfig(**SIZES, sliding_window=None),
    ],
    ids=["llama", "tied, large heads", "llama 3's RoPE", "mistral"],
)
def test_logits_are_the_originals_within_the_window_and_others_beyond(config: Any, tmp_path: Any) -> None:
    original = build(config)
    to_hybrid(original, local_layers=3, window=WINDOW).save_pretrained(tmp_path)
    hybrid = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.randint(0, 64, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        difference_T = (hybrid(ids).logits - original(ids).logits).abs().amax((0, 2))
    assert difference_T[:WINDOW].max() < 1e-5
    assert difference_T[WINDOW:].min() > 1e-3
    assert [layer.window for layer in probe_model(hybrid).layers] == [WINDOW, WINDOW, WINDOW, None] * 2
    assert probe_model(hybrid).failures == []


def test_a_window_that_covers_the_text_changes_nothing() -> None:
    original = build(LlamaConfig(**SIZES))
    hybrid = to_hybrid(original, local_layers=1, window=255)
    ids = torch.randint(0, 64, (1, 250), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(hybrid(ids).logits, original(ids).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (Qwen2Config(**SIZES), "cannot convert a qwen2 model: vLLM's Qwen2 takes no notice of layer_types"),
        (Qwen3Config(**SIZES), "cannot convert a qwen3 model: vLLM's Qwen3"),
        (LlamaConfig(**SIZES, attention_bias=True), "biases"),
        (MistralConfig(**SIZES, sliding_window=4), "has a sliding window of 4 already"),
        (PreTrainedConfig(), "no architecture with layer_types is known"),
    ],
)
def test_models_without_an_exact_hybrid_are_refused(config: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        hybrid_config(config, local_layers=3, window=WINDOW)


@pytest.mark.parametrize("window", [0, 256])
def test_window_that_no_layer_can_have_is_refused(window: int) -> None:
    with pytest.raises(UserError, match=f"window: got {window}, need 1 or more and less than the context 256"):
        hybrid_config(LlamaConfig(**SIZES), local_layers=3, window=window)


def test_settings_that_change_a_llamas_arithmetic_are_all_kept_or_refused() -> None:
    """A tripwire: what a new release of transformers adds to Llama's configuration wants a decision here."""
    from posttrain.models.convert import KEPT

    decided = {*KEPT, "head_dim", "attention_bias", "mlp_bias", "pretraining_tp", "use_cache"}
    own = set(LlamaConfig.__annotations__) - set(PreTrainedConfig.__annotations__)
    assert own - {"model_type", "keys_to_ignore_at_inference"} <= decided
