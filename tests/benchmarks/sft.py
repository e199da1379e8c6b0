"""The SFT step against TRL's SFT trainer, on the same rows, one process.

    make bench-sft [ARGS="--model FOLDER"]

TRL in its best setting that is right on a CPU: its fused head, SDPA, and rows in their order or grouped by length,
whichever is faster. (Its packing needs FlashAttention: without, packed rows see each other.) Ours trains the same rows,
as many in a step, as packs. Times are CPU seconds, which mean the same on a busy machine; memory is the peak of a step
above what the process holds between steps. FOLDER is a pretrained chat model, for the third workload.
"""

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.environment import prepare_environment

prepare_environment()

import memory  # noqa: E402  (after the environment is set)
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, Exaone4Config, Exaone4ForCausalLM  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

from posttrain.data.encode import IGNORED, Encoded  # noqa: E402
from posttrain.models.build import layer_types  # noqa: E402
from posttrain.models.load import load_model  # noqa: E402
from posttrain.models.tokenizer import train_tokenizer  # noqa: E402
from posttrain.recipe import ModelSection  # noqa: E402
from posttrain.sft import UnifiedSFTTrainer  # noqa: E402
from posttrain.sft.samples import Samples  # noqa: E402
from posttrain.terminal import say  # noqa: E402

KINDS = ("trl", "trl by length", "posttrain")


@dataclass(frozen=True, slots=True)
class Workload:
    """Rows, and how many of them make a step."""

    what: str
    target: float
    rows_per_step: int
    median: int  # tokens of a row
    spread: float  # of a row's logarithm
    longest: int
    trained: float  # share of a row's tokens that bear loss
    steps: int


WORKLOADS = {
    "tiny": Workload("tiny hybrid model, the demo's rows", 1.0, 12, 72, 0.3, 160, 0.55, 40),
    "long": Workload("hybrid model, window 128, long skewed rows", 1.3, 4, 500, 1.2, 4096, 0.8, 10),
    "pretrained": Workload("pretrained model, chat rows", 1.0, 4, 160, 0.6, 640, 0.6, 3),
}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 128, "intermediate_size": 384, "sliding_window": 64, "vocab_size": 512},
    "long": {"hidden_size": 256, "intermediate_size": 768, "sliding_window": 128, "vocab_size": 4096},
}


def rows_of(workload: Workload, vocab_size: int) -> list[Encoded]:
    """Random tokens: what they say does not matter to the time."""
    rng = random.Random(0)
    rows = []
    for number in range(workload.rows_per_step * workload.steps):
        length = min(workload.longest, max(8, int(rng.lognormvariate(0, workload.spread) * workload.median)))
        input_ids = rng.choices(range(10, vocab_size), k=length)
        untrained = max(1, round((1 - workload.trained) * length))
        rows.append(Encoded(input_ids, [IGNORED] * untrained + input_ids[untrained:], mode_id=number % 2))
    return rows


def make_trainer(kind: str, workload: Workload, folder: Path) -> Any:
    """What both know has the same value in both; the learning rate is 0, so every step does the same work."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    is_ours = kind == "posttrain"
    settings: dict[str, Any] = {
        "output_dir": str(folder / kind),
        "per_device_train_batch_size": 1 if is_ours else workload.rows_per_step,
        "train_sampling_strategy": "group_by_length" if kind == "trl by length" else "sequential",
        "num_train_epochs": 1,
        "learning_rate": 0.0,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": None,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": False,
    }
    common = {"args": SFTConfig(**settings), "processing_class": tokenizer}
    if is_ours:
        model = load_model(ModelSection(path=str(folder), dtype="float32"), tokenizer)
        rows = rows_of(workload, model.config.vocab_size)
        bounds = range(0, len(rows) + 1, workload.rows_per_step)
        samples = Samples(rows, bounds, frozenset({None}), workload.rows_per_step * workload.longest)
        return UnifiedSFTTrainer(model=model, samples=samples, **common)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    columns = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows_of(workload, model.config.vocab_size)]
    return SFTTrainer(model=model, train_dataset=Dataset.from_list(columns), **common)


def train(kind: str, workload: Workload, folder: Path) -> tuple[float, float, float]:
    """CPU seconds of an epoch, its mean loss, and the peak memory in MB above what was resident before it."""
    torch.set_num_threads(1)
    trainer = make_trainer(kind, workload, folder)
    trainer.args.max_steps = 1
    trainer.train()  # warms up
    trainer.args.max_steps = -1
    before = memory.resident()
    memory.forget_peak()
    began = time.process_time()
    loss = trainer.train().training_loss
    return time.process_time() - began, loss, memory.peak() - before


def compare(name: str, folder: Path, rounds: int) -> None:
    """Every trainer in a fresh process, in turn."""
    workload = WORKLOADS[name]
    runs: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                runs[kind].append(fresh.apply(train, (kind, workload, folder)))
    vocab_size = AutoModelForCausalLM.from_pretrained(folder).config.vocab_size
    tokens = sum(row.trained_tokens for row in rows_of(workload, vocab_size))
    say(f"[bold]{workload.what}[/bold]: {workload.rows_per_step} rows a step, {tokens:,} trained tokens")
    for kind, measured in runs.items():
        seconds, losses, peaks = zip(*measured, strict=True)
        say(
            f"  {kind:14} {tokens / statistics.median(seconds):8,.0f} trained tokens a CPU second, "
            f"peak {statistics.median(peaks):6,.0f} MB, loss {losses[0]:.5f}"
        )
    best = [min(runs["trl"][index][0], runs["trl by length"][index][0]) for index in range(rounds)]
    ratios = [theirs / ours[0] for theirs, ours in zip(best, runs["posttrain"], strict=True)]
    say(
        f"  [bold]{statistics.median(ratios):.2f}x[/bold] TRL's better one "
        f"({min(ratios):.2f} to {max(ratios):.2f}; target {workload.target}x)"
    )


def save_model(shape: dict[str, Any], folder: Path) -> None:
    """A hybrid 3:1 model of 4 layers."""
    tokenizer = train_tokenizer(["a few words for a tokenizer"], vocab_size=300, chat_template="{{ messages }}")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Exaone4Config(
        **shape,
        num_hidden_layers=4,
        num_attention_heads=shape["hidden_size"] // 32,
        num_key_value_heads=shape["hidden_size"] // 64,
        head_dim=32,
        layer_types=layer_types(4, 3),
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Exaone4ForCausalLM(config).save_pretrained(folder)


def main() -> None:
    """Print a block per workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a pretrained model for the third workload")
    parser.add_argument("--workloads", nargs="*", default=list(SHAPES))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for workload in args.workloads:
            save_model(SHAPES[workload], Path(name) / workload)
            compare(workload, Path(name) / workload, args.rounds)
    if args.model:
        compare("pretrained", args.model, args.rounds)


if __name__ == "__main__":
    main()
