"""What the formulas say a layer keeps, against what autograd saves, tensor by tensor."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from posttrain.models.activations import Adapters, Rows, layer_kept
from posttrain.models.attention import SEGMENTS
from posttrain.models.build import HybridShape, model_config
from posttrain.models.decoder import read_decoder

# Odd sizes, so that no two kinds of tensors have the same one.
SIZES = {"hidden_size": 96, "intermediate_size": 208, "num_heads": 6, "num_kv_heads": 2, "head_dim": 24}
LLAMA = {
    "hidden_size": 96,
    "intermediate_size": 208,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
}
WINDOW = 100


def exaone(num_layers: int, *, is_sliding: bool) -> Any:
    """Layers of one kind; the last of a hybrid is always full."""
    layers = {"num_layers": num_layers, "local_layers": 9 if is_sliding else 0}
    return model_config(
        HybridShape(**SIZES, **layers, sliding_window=WINDOW, vocab_size=128, max_position_embeddings=4096)
    )


def saved_bytes(config: Any, rows: Rows, dtype: torch.dtype, attention: str, adapters: Adapters | None) -> int:
    """Of all storages that autograd saves in the layers, parameters left out, each counted once."""
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)
    if adapters:
        lora = LoraConfig(r=adapters.rank, target_modules=sorted(adapters.targets), task_type="CAUSAL_LM")
        model = get_peft_model(model, lora, autocast_adapter_dtype=adapters.are_float32).get_base_model()
        model.enable_input_require_grads()
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved.setdefault(tensor.untyped_storage().data_ptr(), tensor)  # the tensor, so that its place is not used again
        return tensor

    lengths = rows.documents or (rows.tokens,)
    positions = torch.cat([torch.arange(length) for length in lengths]).expand(rows.rows, -1)
    ids = torch.randint(0, 128, (rows.rows, rows.tokens))
    with saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", enabled=dtype == torch.bfloat16):
        model.model(ids, position_ids=positions, attention_mask=None, use_cache=False)
    return sum(
        tensor.untyped_storage().nbytes() for place, tensor in saved.items() if place and place not in parameters
    )


def kept_by_one_layer(config_of: Any, rows: Rows, dtype: torch.dtype, attention: str, adapters: Adapters | None) -> int:
    """The difference that a layer makes."""
    return saved_bytes(config_of(3), rows, dtype, attention, adapters) - saved_bytes(
        config_of(2), rows, dtype, attention, adapters
    )


@pytest.mark.parametrize(
    "adapters",
    [None, Adapters(4), Adapters(4, are_float32=False), Adapters(4, frozenset({"q_proj", "v_proj"}))],
    ids=["none", "all-linear", "all-linear-low-precision", "q-and-v"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("full_attention", Rows(512)),
        ("full_attention", Rows(256, rows=2)),
        ("full_attention", Rows(512, documents=(300, 12, 200))),
        ("sliding_attention", Rows(90)),
        ("sliding_attention", Rows(350)),
        ("sliding_attention", Rows(1030)),
        ("sliding_attention", Rows(512, rows=2)),
        ("sliding_attention", Rows(1200, documents=(550, 80, 330, 240))),
    ],
    ids=str,
)
def test_a_layer_keeps_what_autograd_saves(
    kind: str, rows: Rows, dtype: torch.dtype, adapters: Adapters | None
) -> None:
    shape = read_decoder(exaone(2, is_sliding=kind == "sliding_attention"))
    kept = layer_kept(shape, kind, rows, number=dtype.itemsize, attention=SEGMENTS, adapters=adapters)

    def config_of(num_layers: int) -> Any:
        return exaone(num_layers, is_sliding=kind == "sliding_attention")

    measured = kept_by_one_layer(config_of, rows, dtype, SEGMENTS, adapters)
    # The casts of the adapters themselves are not counted: tens of kilobytes, however many tokens there are.
    assert kept.total == pytest.approx(measured, rel=0.02, abs=40_000 if adapters else 0)


@pytest.mark.parametrize("attention", [SEGMENTS, "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("config_class", [LlamaConfig, Qwen2Config, Qwen3Config])
def test_other_families_keep_what_autograd_saves(config_class: Any, dtype: torch.dtype, attention: str) -> None:
    rows = Rows(512)

    def config_of(num_layers: int) -> Any:
        return config_class(**LLAMA, num_hidden_layers=num_layers)

    kept = layer_kept(
        read_decoder(config_of(2)), "full_attention", rows, number=dtype.itemsize, attention=attention, adapters=None
    )
    assert kept.total == pytest.approx(kept_by_one_layer(config_of, rows, dtype, attention, None), rel=0.02)


def test_sdpa_keeps_a_mask_of_the_length_squared_where_a_window_needs_one() -> None:
    rows = Rows(1030)

    def config_of(num_layers: int) -> Any:
        return exaone(num_layers, is_sliding=True)

    kept = layer_kept(read_decoder(config_of(2)), "sliding_attention", rows, number=4, attention="sdpa")
    assert kept.total == pytest.approx(kept_by_one_layer(config_of, rows, torch.float32, "sdpa", None), rel=0.02)
