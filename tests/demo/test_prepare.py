import json
from pathlib import Path

import pytest

from posttrain.demo import data, prepare


def test_demo_starts_from_data_and_a_loadable_model_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = data.Sizes(60, 60, 1, 1, 1, 1, 1)
    monkeypatch.setattr(prepare, "write_data", lambda folder, seed: data.write_data(folder, seed, small))
    prepare.prepare(tmp_path, seed=0)
    from posttrain.models.load import load_model, load_tokenizer
    from posttrain.recipe import ModelSection

    section = ModelSection(path=str(tmp_path / "base"))
    tokenizer = load_tokenizer(section)
    model = load_model(section, tokenizer)
    assert len(tokenizer) == prepare.VOCABULARY
    said = capsys.readouterr().out
    assert f"parameters {sum(parameter.numel() for parameter in model.parameters()):,} (embedding" in said
    assert "3 sliding and 1 full, window 64" in said
    assert len((tmp_path / "data" / "sft_reasoning.jsonl").read_text().splitlines()) == 60

    weights = (tmp_path / "base" / "model.safetensors").read_bytes()
    (tmp_path / "data" / "rl.jsonl").unlink()
    prepare.prepare(tmp_path, seed=1)
    assert (tmp_path / "base" / "model.safetensors").read_bytes() == weights
    assert not (tmp_path / "data" / "rl.jsonl").exists()
    assert json.loads((tmp_path / "base" / "config.json").read_text())["model_type"] == "exaone4"
