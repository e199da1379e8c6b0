"""A working directory for stages as real processes, and how they are started."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Launch = Callable[..., str]

DOMAINS = ("long_chains", "short_chains")

# Adam divides a gradient by its own size: at its usual epsilon the rounding of one that is almost 0 becomes a step.
SFT = """\
stage: sft
run: run
model: {{path: {model}}}
data:
  sources:
    - {{name: long, path: {files[sft_reasoning]}}}
    - {{name: short, path: {files[sft_non_reasoning]}}}
mixer:
  use: data_mixers.by_tokens:ByTokens
  args: {{shares: {{reasoning: 1.5, non_reasoning: 1.0}}}}
trainer:
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 2
  learning_rate: 1e-3
  adam_epsilon: 1e-5
  max_steps: 6
  logging_steps: 2
  save_strategy: "no"
  report_to: none
"""
# Rows of two domains in packs, and an evaluation of a single pack, which two processes cannot share.
PACKS = """\
stage: sft
run: run
model: {{path: {model}}}
data:
  pack_tokens: 256
  sources:
    - {{path: {files[sft_round2]}}}
    - {{path: {files[sft_non_reasoning]}}}
validation: {{sources: [{{path: held_out.jsonl}}]}}
mixer:
  use: data_mixers.by_tokens:ByTokens
  args: {{shares: {{reasoning: 1.5, non_reasoning: 1.0}}}}
trainer:
  per_device_train_batch_size: 1
  gradient_accumulation_steps: 2
  learning_rate: 1e-3
  adam_epsilon: 1e-5
  max_steps: 6
  logging_steps: 2
  eval_strategy: steps
  eval_steps: 3
  save_strategy: "no"
  report_to: none
"""
RL = """\
stage: rl
run: run
model: {{path: {model}}}
data: {{sources: [{{path: {files[rl]}}}]}}
engine: transformers
rewards: [{{use: "even:even"}}]
trainer:
  num_generations: 4
  per_device_train_batch_size: 6
  gradient_accumulation_steps: 2
  num_iterations: 2
  max_completion_length: 24
  beta: 0.05
  learning_rate: 1e-3
  adam_epsilon: 1e-5
  max_steps: 4
  max_mismatch_kl: 1.0e-6
  save_strategy: "no"
  report_to: none
"""
PREF = """\
stage: pref
run: run
model: {{path: {model}}}
pairs: [pairs.parquet]
trainer:
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 2
  learning_rate: 1e-3
  adam_epsilon: 1e-5
  max_steps: 4
  logging_steps: 1
  save_strategy: "no"
  report_to: none
"""
# A noise model earns it about half of the time.
EVEN = """\
from rewards.contract import Verdict


def even(attempt):
    is_even = attempt.num_tokens % 2 == 0
    return Verdict(score=float(is_even), outcome=is_even)


def even_text(attempt):
    is_even = len((attempt.thinking or "") + attempt.answer) % 2 == 0
    return Verdict(score=float(is_even), outcome=is_even)
"""


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, demo_files: dict[str, Path], model_folder: Path) -> Path:
    """A working directory with a recipe for every trainer, a reward of the user's own, pairs and held-out rows."""
    folder = tmp_path_factory.mktemp("distributed")
    for name, recipe in (("sft", SFT), ("packs", PACKS), ("rl", RL), ("pref", PREF)):
        (folder / f"{name}.yaml").write_text(recipe.format(model=model_folder, files=demo_files))
    (folder / "even.py").write_text(EVEN)
    write_random_pairs(folder / "pairs.parquet", model_folder)
    lines = sorted(demo_files["sft_round2"].read_text().splitlines(keepends=True), key=len)
    held_out = (next(line for line in lines if f'"{domain}"' in line) for domain in DOMAINS)
    (folder / "held_out.jsonl").write_text("".join(held_out))
    return folder


def write_random_pairs(path: Path, model_folder: Path) -> None:
    """Twenty pairs of random tokens: the chosen responses are the shorter ones."""
    from posttrain.chat import origin_of
    from posttrain.models.load import load_tokenizer
    from posttrain.preference.pair_files import write_pairs
    from posttrain.recipe import ModelSection

    rng = random.Random(0)
    tokens = range(20, 250)
    rows: list[Any] = [
        {
            "query": index,
            "prompt_ids": rng.choices(tokens, k=5),
            "chosen_ids": rng.choices(tokens, k=rng.randint(1, 6)),
            "rejected_ids": rng.choices(tokens, k=rng.randint(4, 9)),
            "mode": ("reasoning", "non_reasoning")[index % 3 == 0],
            "language": ("en", "ko")[index % 2],
        }
        for index in range(20)
    ]
    write_pairs(path, rows, origin_of(load_tokenizer(ModelSection(path=str(model_folder)))))


@pytest.fixture(scope="session")
def launch(workplace: Path) -> Launch:
    """`launch(launcher, *commands)`: run commands of `posttrain` in turn, in the launcher's processes; gives stderr."""

    def start(launcher: Sequence[str], *commands: Sequence[str]) -> str:
        done = subprocess.run(
            [sys.executable, *launcher, str(Path(__file__).with_name("several.py")), json.dumps(commands)],
            cwd=workplace,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=540,
            check=False,
        )
        return f"exit code {done.returncode}\n{done.stderr[-4000:]}"

    return start
