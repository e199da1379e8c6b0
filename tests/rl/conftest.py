"""A tiny EXAONE-4 model folder and a trainer over demo prompts."""

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from posttrain.environment import prepare_environment

prepare_environment()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained two-layer hybrid model whose answers are noise of varying length."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny", is_tied=False)


@pytest.fixture(scope="session")
def tied_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one matrix for embedding and head: the case in which a reload leaves the engine's head stale."""
    return write_model(tmp_path_factory.mktemp("model") / "tied", is_tied=True)


def write_model(folder: Path, *, is_tied: bool) -> Path:
    """Build, initialise and save."""
    from posttrain.chat import read_template
    from posttrain.demo.task import LANGUAGES, Teacher, draw_problem, sft_row
    from posttrain.models.build import HybridShape, build_model
    from posttrain.models.load import save_model
    from posttrain.models.tokenizer import train_tokenizer

    rng = random.Random(0)
    teacher = Teacher(weak_share=0.0, error_rate=0.0, stray_rate=0.0, rechecks=(0, 1))
    rows = [
        sft_row(rng, draw_problem(rng, min_steps=1, max_steps=3), language, "reasoning", teacher)
        for language in LANGUAGES
        for _ in range(50)
    ]
    texts = [message["content"] for row in rows for message in row["messages"]]
    tokenizer = train_tokenizer(texts, vocab_size=320, chat_template=read_template("exaone4"))
    shape = HybridShape(
        hidden_size=32,
        num_layers=2,
        intermediate_size=64,
        num_heads=2,
        num_kv_heads=1,
        head_dim=32,
        local_layers=1,
        tie_word_embeddings=is_tied,
    )
    save_model(build_model(shape, tokenizer, seed=0), tokenizer, folder)
    return folder


def a_number_of_tokens_is_even(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    """A reward that a noise model earns about half of the time."""
    return [float(sum(ids) % 2 == 0) for ids in completion_ids]


def build_trainer(
    model_folder: Path,
    output: Path,
    rewards: list[Callable[..., Any]] | None = None,
    num_prompts: int = 32,
    dtype: str = "float32",
    peft_config: Any = None,
    **settings: Any,
) -> Any:
    """An `AGAPOTrainer` over demo prompts; `settings` go to `AGAPOConfig`."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from posttrain.chat import render_prompt
    from posttrain.demo.task import draw_problem, prompt_row
    from posttrain.rl import AGAPOConfig, AGAPOTrainer

    rng = random.Random(1)
    tokenizer = AutoTokenizer.from_pretrained(model_folder, padding_side="left")
    rows = [prompt_row(rng, draw_problem(rng, min_steps=1, max_steps=6), "en", "reasoning") for _ in range(num_prompts)]
    prompts = [
        {"prompt": render_prompt(tokenizer, row["messages"], "reasoning"), "row": json.dumps(row)} for row in rows
    ]
    defaults = {
        "output_dir": str(output),
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "num_generations": 4,
        "max_completion_length": 24,
        "max_steps": 1,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "beta": 0.0,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "logging_steps": 1,
        "use_vllm": False,
        "vllm_max_model_length": 256,
    }
    return AGAPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_folder, dtype=dtype),
        args=AGAPOConfig(**{**defaults, **settings}),
        reward_funcs=rewards or [a_number_of_tokens_is_even],
        train_dataset=Dataset.from_list(prompts),
        processing_class=tokenizer,
        peft_config=peft_config,
    )


@pytest.fixture
def make_trainer(model_folder: Path, tmp_path: Path) -> Callable[..., Any]:
    """A function that builds a trainer; keywords as in `build_trainer`."""
    return partial(build_trainer, model_folder, tmp_path / "trainer")


@pytest.fixture(scope="module")
def synced_trainer(tied_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One trainer with one colocated engine for a whole file: starting an engine takes half a minute.

    bfloat16, because vLLM's CPU kernels repack the head in this precision, and tied, because that copy is then left
    behind by a plain reload.
    """
    output = tmp_path_factory.mktemp("sync")
    return build_trainer(tied_model_folder, output, dtype="bfloat16", use_vllm=True, max_steps=3)
