from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from posttrain import cli
from posttrain.errors import UserError
from posttrain.modelling.convert import convert_model, parse_ratio
from posttrain.models.load import save_model


@pytest.fixture
def llama(tokenizer: Any, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=256,
        initializer_range=0.3,
        dtype="bfloat16",
    )
    save_model(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path / "llama")
    return tmp_path / "llama"


def test_folder_becomes_a_hybrid_folder_in_its_own_dtype(llama: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out/hybrid"
    words = ["model", "convert", str(llama), "--ratio", "1:1", "--window", "8", "--out", str(out)]
    assert cli.main(words) == 0
    hybrid = AutoModelForCausalLM.from_pretrained(out)
    assert hybrid.config.layer_types == ["sliding_attention", "full_attention"] * 2
    assert hybrid.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(out).chat_template
    assert "2 sliding layers of window 8 and 2 full, ministral" in capsys.readouterr().out
    assert cli.main(words) == 2
    assert "is there already; give another --out" in capsys.readouterr().err


@pytest.mark.parametrize("ratio", ["3", "0:1", "3:2", "-1:1", "three:1", "3:1:1"])
def test_ratio_is_sliding_layers_to_one(ratio: str) -> None:
    with pytest.raises(UserError, match=r"--ratio: got .*, need N:1"):
        parse_ratio(ratio)


def test_hybrid_models_are_refused_before_weights_are_read(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot convert a exaone4 model: the global layers of a hybrid EXAONE"):
        convert_model(str(model_folder), ratio="3:1", window=8, out=tmp_path / "out")
