"""The probe passes models that are what they say, and fails every way of losing a window."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM, LlamaConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from posttrain.errors import UserError
from posttrain.models.attention import SEGMENTS
from posttrain.models.build import HybridShape, build_model
from posttrain.models.probe import probe_model, require_window

WINDOW = 16  # of the tiny shape


@pytest.fixture
def model(tokenizer: Any, tiny_shape: HybridShape) -> Any:
    return build_model(tiny_shape, tokenizer, seed=0)


@pytest.fixture(params=["window", "causality", "padding"])
def broken_attention(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of an attention that loses one thing."""

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
        if request.param == "window":
            mask = None  # and so causal, over everything
        elif request.param == "causality":
            mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).triu(-WINDOW)[None, None]
        elif module.is_sliding:
            mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril().triu(1 - WINDOW)[None, None]
        else:
            mask = None
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)

    AttentionInterface.register("broken", attention)
    AttentionMaskInterface.register("broken", sdpa_mask)
    yield request.param
    del AttentionInterface._global_mapping["broken"]
    del AttentionMaskInterface._global_mapping["broken"]


@pytest.mark.parametrize("attention", [SEGMENTS, "sdpa", "eager"])
@pytest.mark.parametrize("window", [1, 5, 16, 100])
def test_hybrid_model_is_as_configured(tokenizer: Any, tiny_shape: HybridShape, attention: str, window: int) -> None:
    model = build_model(replace(tiny_shape, sliding_window=window), tokenizer, seed=0)
    model.set_attn_implementation(attention)
    sight = probe_model(model)
    assert sight.failures == []
    *local, last = sight.layers
    assert [layer.reach for layer in local] == [window] * 3
    assert (last.window, last.reach) == (None, window + 8)
    assert [layer.uses_positions for layer in sight.layers] == [None if window == 1 else True] * 3 + [False]
    assert all(layer.normalizes_queries for layer in sight.layers)


def test_lost_window_causality_or_padding_is_told_by_layer(model: Any, broken_attention: str) -> None:
    model.set_attn_implementation("broken")
    failures = " | ".join(probe_model(model).failures)
    expected = {
        "window": "layers 0, 1, 2 see everything, need 16",
        "causality": "layers 0, 1, 2, 3 see tokens that come after",
        "padding": "packed documents see each other | tokens see the padding on their left",
    }
    assert expected[broken_attention] in failures
    with pytest.raises(UserError, match=r"attention is not what .* attn_implementation is 'broken', try another"):
        require_window(model)


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (None, "names sliding layers and no sliding_window"),
        (1024, "sliding_window is 1024, the context 1024: no layer ever slides"),
    ],
)
def test_window_that_the_configuration_lost_is_told(model: Any, window: int | None, told: str) -> None:
    model.config.sliding_window = window
    assert told in probe_model(model).failures[0]


def test_rope_on_a_global_layer_and_lost_query_norms_are_told(model: Any) -> None:
    model.model.layers[3].self_attn.is_sliding = True
    model.model.layers[1].self_attn.q_norm = torch.nn.Identity()
    failures = probe_model(model).failures
    assert "layers 3 have RoPE, need none" in failures
    assert "layers 1 do not normalize queries and keys" in failures


def test_full_model_is_as_configured_and_not_looked_at_before_training(tokenizer: Any, tiny_shape: HybridShape) -> None:
    full = build_model(replace(tiny_shape, local_layers=0), tokenizer, seed=0)
    assert probe_model(full).failures == []
    assert all(layer.uses_positions for layer in probe_model(full).layers)
    full.get_decoder().layers = torch.nn.ModuleList()
    require_window(full)


def test_other_architectures_are_only_asked_for_their_windows() -> None:
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    torch.manual_seed(0)
    sight = probe_model(AutoModelForCausalLM.from_config(config))
    assert sight.failures == []
    assert [layer.normalizes_queries for layer in sight.layers] == [False, False]


def test_probe_leaves_the_model_as_it_was(model: Any) -> None:
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    require_window(model)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(layer._forward_pre_hooks for layer in model.model.layers)
