"""The model is what its shape says: layers, sizes, and what each layer can see."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from posttrain.models.build import HybridShape, build_model, layer_types

LOCAL, GLOBAL = "sliding_attention", "full_attention"


@pytest.mark.parametrize(
    ("num_layers", "local_layers", "globals_at"),
    [
        (4, 3, [3]),
        (8, 3, [3, 7]),
        (30, 3, [3, 7, 11, 15, 19, 23, 27, 29]),
        (6, 2, [2, 5]),
        (5, 4, [4]),
        (3, 0, [0, 1, 2]),
        (2, 3, [1]),
        (1, 3, [0]),
    ],
)
def test_every_fourth_layer_and_the_last_are_global(num_layers: int, local_layers: int, globals_at: list[int]) -> None:
    types = layer_types(num_layers, local_layers)
    assert len(types) == num_layers
    assert [index for index, kind in enumerate(types) if kind == GLOBAL] == globals_at
    assert set(types) <= {LOCAL, GLOBAL}


def test_default_model_has_the_parameters_its_sizes_add_up_to(tokenizer: Any) -> None:
    model = build_model(HybridShape(), tokenizer, seed=0)
    attention = 128 * 4 * 32 + 2 * 128 * 2 * 32 + 4 * 32 * 128  # queries, keys and values, output
    norms = 2 * 32 + 2 * 128  # of a query's and a key's head; after attention, after the FFN
    layer = attention + 3 * 128 * 384 + norms
    vocabulary = len(tokenizer)
    assert sum(parameter.numel() for parameter in model.parameters()) == 4 * layer + 2 * vocabulary * 128 + 128
    assert 4 * layer + 2 * 512 * 128 + 128 == 918_912  # with the demo's vocabulary: 0.9 million


def test_tied_model_has_one_matrix_for_embedding_and_head(tokenizer: Any, tiny_shape: HybridShape) -> None:
    tied = build_model(replace(tiny_shape, tie_word_embeddings=True), tokenizer, seed=0)
    untied = build_model(tiny_shape, tokenizer, seed=0)
    assert tied.get_input_embeddings().weight is tied.get_output_embeddings().weight
    assert untied.get_input_embeddings().weight is not untied.get_output_embeddings().weight


def test_model_without_local_layers_has_rope_in_every_layer(tokenizer: Any, tiny_shape: HybridShape) -> None:
    """As the paper's 1.2B; transformers knows it by the missing window, vLLM by the layers' kinds."""
    config = build_model(replace(tiny_shape, local_layers=0), tokenizer, seed=0).config
    assert config.sliding_window is None
    assert set(config.layer_types) == {GLOBAL}


def test_embedding_can_be_larger_than_the_tokenizer_and_not_smaller(tokenizer: Any, tiny_shape: HybridShape) -> None:
    larger = build_model(replace(tiny_shape, vocab_size=len(tokenizer) + 24), tokenizer, seed=0)
    assert larger.get_input_embeddings().num_embeddings == len(tokenizer) + 24
    with pytest.raises(ValueError, match=f"got vocab_size 10, need at least the tokenizer's {len(tokenizer)}"):
        build_model(replace(tiny_shape, vocab_size=10), tokenizer, seed=0)


def test_weights_are_the_seeds(tokenizer: Any, tiny_shape: HybridShape) -> None:
    first, again, other = (build_model(tiny_shape, tokenizer, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_embedding_is_of_the_size_of_what_the_layers_add(tokenizer: Any) -> None:
    """Post-norm adds unit-scale outputs to the residual stream: a usual embedding of 0.02 would drown."""
    model = build_model(HybridShape(), tokenizer, seed=0)
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(1.0, abs=0.02)
    assert model.model.layers[0].mlp.gate_proj.weight.std().item() == pytest.approx(0.08, abs=0.002)


def test_model_stops_and_pads_with_the_tokenizers_tokens(tokenizer: Any, tiny_shape: HybridShape) -> None:
    model = build_model(tiny_shape, tokenizer, seed=0)
    for config in (model.config, model.generation_config):
        assert config.eos_token_id == tokenizer.eos_token_id
        assert config.pad_token_id == tokenizer.pad_token_id
    assert model.config.layer_types == [LOCAL, LOCAL, LOCAL, GLOBAL]
    assert model.config.vocab_size == len(tokenizer)


# --- what each layer sees ---

WINDOW, LENGTH = 4, 20


def reach(tokenizer: Any, shape: HybridShape, kinds: list[str]) -> list[int]:
    """How far ahead of a changed token each later position notices the change (distance 0 is the token itself)."""
    from transformers import Exaone4ForCausalLM

    config = build_model(shape, tokenizer, seed=0).config
    config.layer_types, config.sliding_window = kinds, shape.sliding_window
    torch.manual_seed(0)
    model = Exaone4ForCausalLM(config).double().eval()
    ids = torch.randint(10, 200, (1, LENGTH))
    changed = ids.clone()
    changed[0, 2] = 7
    with torch.inference_mode():
        difference_T = (model(ids).logits - model(changed).logits).abs().amax(dim=-1)[0]
    assert difference_T[:2].tolist() == [0.0, 0.0]  # nothing looks ahead
    return [position - 2 for position in range(2, LENGTH) if difference_T[position] > 0]


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_sliding_layers_alone_cannot_see_past_their_windows(
    tokenizer: Any, tiny_shape: HybridShape, num_layers: int
) -> None:
    """A window of 4 is the token itself and three before it, so each layer carries a change three positions on."""
    shape = replace(tiny_shape, num_layers=num_layers, sliding_window=WINDOW)
    assert reach(tokenizer, shape, [LOCAL] * num_layers) == list(range(num_layers * (WINDOW - 1) + 1))


def test_one_global_layer_sees_everything(tokenizer: Any, tiny_shape: HybridShape) -> None:
    shape = replace(tiny_shape, num_layers=4, sliding_window=WINDOW)
    assert reach(tokenizer, shape, layer_types(4, 3)) == list(range(LENGTH - 2))


def test_built_model_sees_beyond_its_sliding_windows(tokenizer: Any, tiny_shape: HybridShape) -> None:
    """Without any help of ours: three windows of 4 reach nine tokens, the last layer the rest."""
    model = build_model(replace(tiny_shape, sliding_window=WINDOW), tokenizer, seed=0).eval()
    ids = torch.randint(10, 200, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[0, 0] = 7
    with torch.inference_mode():
        assert (model(ids).logits[0, -1] - model(changed).logits[0, -1]).abs().max() > 1e-4
