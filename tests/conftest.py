"""A tiny data set, tokenizer and hybrid model, made once; heavy libraries are imported by those who ask for them."""

import atexit
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from posttrain.environment import prepare_environment

pytest_plugins = ["tests.fault_table"]

# The same examples every time: a run of the suite says something about the change, not about luck.
# New ones are searched for under hypothesis's own profile, "default".
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads only wait for each other
# What the tests encode and track is theirs alone: the caches of whoever runs them stay as they are.
_caches = tempfile.mkdtemp(prefix="posttrain-tests-")
os.environ |= {"HF_DATASETS_CACHE": f"{_caches}/datasets", "TRACKIO_DIR": f"{_caches}/trackio"}
atexit.register(shutil.rmtree, _caches, ignore_errors=True)
prepare_environment()  # before anything imports the heavy libraries


LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(scope="module", autouse=True)
def without_a_launcher() -> Iterator[None]:
    """vLLM within a trainer leaves these behind; later tests' own processes would take themselves for its ranks."""
    yield
    for name in LAUNCHED:
        os.environ.pop(name, None)


@pytest.fixture(scope="module", autouse=True)
def without_modules_of_others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a file's tests wrote and imported is forgotten: the next one's may write another of the same name."""
    yield
    written = str(tmp_path_factory.getbasetemp())
    for name in [
        name for name, each in sys.modules.items() if (getattr(each, "__file__", None) or "").startswith(written)
    ]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def demo_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo's data files, a few rows each."""
    from posttrain.demo.data import Sizes, write_data

    sizes = Sizes(
        sft_reasoning=60, sft_non_reasoning=90, rl=30, pairs_stage1=30, pairs_stage2=30, validation=30, test=30
    )
    return write_data(tmp_path_factory.mktemp("demo") / "data", seed=0, sizes=sizes)


@pytest.fixture(scope="session")
def tokenizer(demo_files: dict[str, Path]) -> Any:
    """Trained on those rows, with the built-in template. Not to be changed by a test."""
    from posttrain.chat import read_template
    from posttrain.models.tokenizer import train_tokenizer

    texts = [
        message.get("reasoning_content", "") + message["content"]
        for name in ("sft_reasoning", "sft_non_reasoning")
        for line in demo_files[name].read_text().splitlines()
        for message in json.loads(line)["messages"]
    ]
    return train_tokenizer(texts, vocab_size=400, chat_template=read_template("exaone4"))


@pytest.fixture(scope="session")
def tiny_shape() -> Any:
    """Three local layers and a global one, 40 thousand parameters with the tokenizer above."""
    from posttrain.models.build import HybridShape

    return HybridShape(
        hidden_size=32, intermediate_size=64, num_heads=2, num_kv_heads=1, head_dim=16, sliding_window=16
    )


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, tiny_shape: Any) -> Path:
    """An untrained model as a stage would find it."""
    from posttrain.models.build import build_model
    from posttrain.models.load import save_model

    folder = tmp_path_factory.mktemp("models") / "base"
    save_model(build_model(tiny_shape, tokenizer, seed=0), tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def taught_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows the answers of `tests.taught` by heart, in both modes."""
    from tests.taught import teach

    folder = tmp_path_factory.mktemp("models") / "taught"
    teach(folder)
    return folder


@pytest.fixture
def sft_recipe_file(tmp_path: Path, model_folder: Path, demo_files: dict[str, Path]) -> Path:
    """A recipe that trains six rows a step: both modes, 1.5 : 1."""
    path = tmp_path / "sft.yaml"
    path.write_text(
        f"""\
stage: sft
run: {tmp_path / "run"}
model: {{path: {model_folder}}}
data:
  sources:
    - {{name: long, path: {demo_files["sft_reasoning"]}}}
    - {{name: short, path: {demo_files["sft_non_reasoning"]}}}
mixer:
  use: data_mixers.by_tokens:ByTokens
  args: {{shares: {{reasoning: 1.5, non_reasoning: 1.0}}}}
trainer:
  per_device_train_batch_size: 3
  gradient_accumulation_steps: 2
  learning_rate: 1e-2
  max_steps: 6
  logging_steps: 2
  save_steps: 2
  report_to: none
"""
    )
    return path
