import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from posttrain import cli
from posttrain.modelling.probe import Comparison, compare_in_vllm
from posttrain.models.build import PRESETS, build_model
from posttrain.models.load import save_model
from posttrain.recipe import ModelSection


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("attention", ["segments", "sdpa", "eager"])
def test_exported_model_is_as_configured(model_folder: Path, attention: str, capsys: Any) -> None:
    assert cli.main(["model", "probe", str(model_folder), "--attention", attention]) == 0
    said = capsys.readouterr().out
    assert said.count("│ sliding") == 3
    assert said.count("everything") == 2
    assert "as configured" in said


@pytest.mark.parametrize("window", [None, 4096])
def test_export_that_lost_its_window_fails(copy: Path, window: int | None, capsys: Any) -> None:
    change_config(copy, sliding_window=window)
    assert cli.main(["model", "probe", str(copy)]) == 2
    assert "is not what its configuration says" in capsys.readouterr().err


def test_engine_is_judged_by_how_far_the_windows_alone_move_the_log_probabilities() -> None:
    assert Comparison(windowed=0.01, full=0.5, between=0.5).failures == []
    assert "as if there were no windows" in Comparison(windowed=0.5, full=0.01, between=0.5).failures[0]
    assert "as neither" in Comparison(windowed=0.5, full=0.5, between=0.5).failures[0]
    assert "cannot be told" in Comparison(windowed=0.0, full=0.0, between=1e-5).failures[0]


def test_full_model_has_nothing_that_vllm_could_ignore(copy: Path, capsys: Any) -> None:
    change_config(copy, layer_types=["full_attention"] * 4)
    assert cli.main(["model", "probe", str(copy), "--engine", "vllm"]) == 2
    assert "has no sliding layers" in capsys.readouterr().err


@pytest.mark.slow
def test_vllm_that_is_told_of_no_windows_fails_and_the_model_itself_passes(tokenizer: Any, tmp_path: Path) -> None:
    save_model(build_model(PRESETS["tiny"], tokenizer, seed=0), tokenizer, tmp_path / "tiny")
    section = ModelSection(path=str(tmp_path / "tiny"))
    assert compare_in_vllm(section).failures == []
    deaf = compare_in_vllm(section, hf_overrides={"sliding_window": 512})
    assert "as if there were no windows" in deaf.failures[0]


@pytest.mark.slow
def test_vllm_sees_the_windows_of_a_converted_model(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from posttrain.models.convert import to_hybrid

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.1,
    )
    save_model(to_hybrid(LlamaForCausalLM(config), local_layers=3, window=16), tokenizer, tmp_path / "hybrid")
    # In a process of its own: vLLM runs this architecture by changing transformers' classes for good.
    words = [sys.executable, "-m", "posttrain", "model", "probe", str(tmp_path / "hybrid"), "--engine", "vllm"]
    assert subprocess.run(words, check=False).returncode == 0
