"""A ladder of two short lengths for the tiny model, with short rows to replay and to watch."""

from pathlib import Path

import pytest

from tests.context.same_code import patch_code


@pytest.fixture
def recipe_file(tmp_path: Path, model_folder: Path, demo_files: dict[str, Path]) -> Path:
    path = tmp_path / "context.yaml"
    path.write_text(
        f"""\
stage: context
run: {tmp_path / "run"}
model: {{path: {model_folder}}}
stages:
  - {{name: short, length: 160, limit_tokens: 3.0e4, slice_tokens: 4000, rope_theta: 2.0e4}}
  - {{name: long, length: 256, limit_tokens: 4.0e4, slice_tokens: 8000, rope_theta: 1.0e5}}
pack_tokens: 512
documents: {{languages: [en], shortest: 0.8}}
replay: {{sources: [{{path: {demo_files["sft_non_reasoning"]}}}], share: 0.2}}
validation: {{sources: [{{path: {demo_files["sft_reasoning"]}}}]}}
gate: {{samples_per_cell: 1, lengths: [0.95, 1.0], depths: [0, 1], languages: [en], max_new_tokens: 40}}
max_short_regression: 9
trainer: {{learning_rate: 1e-2, logging_steps: 5, save_steps: 4, save_total_limit: 9, report_to: none}}
"""
    )
    return path


@pytest.fixture
def same_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every needle has the same code, in a cache of the test's own."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    patch_code(monkeypatch.setattr)
