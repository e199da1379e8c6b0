"""SimPER against TRL's `DPOTrainer`: same model, same pairs, same optimizer, batches of the same pairs.

    make bench-pref                                # the demo's model
    make bench-pref ARGS="--model path/to/model"   # any model folder, for instance SmolLM2-135M's
    make bench-pref ARGS="--pairs runs/demo/pairs-stage1/pairs.parquet"   # the lengths of real pairs

A step takes pairs of token ids to updated weights: forward, loss, backward, AdamW. DPO runs in its fast setting, with
the reference's log-probabilities computed beforehand (`precompute_ref_log_probs`), and in its default one, with the
reference model in memory; what the former costs once is printed apart, and as part of an epoch. Seconds are CPU seconds
of one thread, which a busy machine changes least; each round runs all of them one after the other, and printed is the
median of the rounds' ratios. Peak memory is that of a fresh process each, above what it takes before the model is
loaded: weights, gradients and optimizer included.
"""

import argparse
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.environment import prepare_environment

prepare_environment()
os.environ["TQDM_DISABLE"] = "1"

import memory  # noqa: E402  (after the environment is set)
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from trl import DPOConfig  # noqa: E402

from posttrain.demo.prepare import VOCABULARY  # noqa: E402
from posttrain.models.build import HybridShape, build_model  # noqa: E402
from posttrain.models.load import load_model, save_model  # noqa: E402
from posttrain.models.tokenizer import train_tokenizer  # noqa: E402
from posttrain.preference.config import SimPERConfig  # noqa: E402
from posttrain.preference.peers import PairDPOTrainer  # noqa: E402
from posttrain.preference.trainer import SimPERTrainer  # noqa: E402
from posttrain.recipe import ModelSection  # noqa: E402
from posttrain.terminal import say  # noqa: E402

KINDS = ("simper", "dpo", "dpo with its reference")
MICRO_BATCHES = 2
STEPS = 4  # an epoch


@dataclass(frozen=True, slots=True)
class Workload:
    """Pairs by their lengths in tokens."""

    what: str
    lengths: list[tuple[int, int, int]]  # prompt, chosen, rejected
    target: float  # steps per second, in DPO's


def workloads(number: int, pairs: Path | None) -> Iterator[Workload]:
    """Stage 1's kind of pairs and a kind that leaves padding nothing to do; or the first ones of a file."""
    if pairs is not None:
        columns = pq.read_table(pairs, columns=["prompt_ids", "chosen_ids", "rejected_ids"]).to_pydict().values()
        lengths = [(len(prompt), len(chosen), len(rejected)) for prompt, chosen, rejected in zip(*columns, strict=True)]
        yield Workload(f"lengths of {pairs}", lengths[:number], 1.8)
        return
    rng = random.Random(0)
    skewed = [(rng.randint(24, 64), _draw(rng, 60), _draw(rng, 150)) for _ in range(number)]
    yield Workload("skewed: short against long", skewed, 1.8)
    yield Workload("uniform: all sides 160 tokens after 48", [(48, 160, 160)] * number, 1.3)


def _draw(rng: random.Random, median: int) -> int:
    return min(512, max(8, int(median * rng.lognormvariate(0.0, 0.6))))


def make_trainer(kind: str, folder: Path, workload: Workload, batch: int) -> Any:
    """What both know has the same value in both."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    rng = random.Random(0)
    vocabulary = range(10, tokenizer.vocab_size)  # what the tokens say does not matter to the time
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = [
        dict(zip(names, (rng.choices(vocabulary, k=k) for k in lengths), strict=True)) for lengths in workload.lengths
    ]
    settings: dict[str, Any] = {
        "output_dir": str(folder / kind),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": MICRO_BATCHES,
        "learning_rate": 0.0,  # every step does the same work
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": [],
    }
    common = {"train_dataset": Dataset.from_list(rows), "processing_class": tokenizer}
    if kind == "simper":
        model = load_model(ModelSection(path=str(folder)), tokenizer)
        trainer: Any = SimPERTrainer(model=model, args=SimPERConfig(**settings), **common)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
        is_precomputed = kind == "dpo"
        args = DPOConfig(max_length=None, precompute_ref_log_probs=is_precomputed, **settings)
        trainer = PairDPOTrainer(model=model, args=args, **common)
    trainer.create_optimizer_and_scheduler(num_training_steps=100)
    trainer.model.train()
    return trainer


def step(trainer: Any, batches: Iterator[Any]) -> float:
    """Seconds of one update, as `Trainer.train` makes it; the batches come from the trainer's own loader."""
    began = time.process_time()
    samples, number = trainer.get_batch_samples(batches, MICRO_BATCHES, trainer.args.device)
    trainer.current_gradient_accumulation_steps = len(samples)
    for index, inputs in enumerate(samples):
        trainer.accelerator.gradient_state._set_sync_gradients(index == len(samples) - 1)
        trainer.training_step(trainer.model, inputs, number)
    trainer.optimizer.step()
    trainer.model.zero_grad()
    return time.process_time() - began


def endless(trainer: Any) -> Iterator[Any]:
    """The same order of pairs for all, epoch after epoch."""
    while True:
        yield from trainer.get_train_dataloader()


def peak_memory(kind: str, folder: Path, workload: Workload, batch: int) -> tuple[float, float]:
    """MB of a process of its own: at the peak, and that of it which the last steps take above what stays."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (kind, folder, workload, batch))


def _peak_memory(kind: str, folder: Path, workload: Workload, batch: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    before = memory.resident()
    trainer = make_trainer(kind, folder, workload, batch)
    batches = endless(trainer)
    step(trainer, batches)
    rest = memory.resident()
    memory.forget_peak()
    for _ in range(STEPS):
        step(trainer, batches)
    return memory.peak() - before, memory.peak() - rest


def compare(workload: Workload, folder: Path, batch: int, rounds: int) -> None:
    """One workload: seconds a step, ratios, and memory."""
    trainers, seconds_before = {}, {}
    for kind in KINDS:
        began = time.process_time()
        trainers[kind] = make_trainer(kind, folder, workload, batch)
        seconds_before[kind] = time.process_time() - began
    batches = {kind: endless(trainer) for kind, trainer in trainers.items()}
    for kind in KINDS:
        step(trainers[kind], batches[kind])  # warms up
    times = [{kind: step(trainers[kind], batches[kind]) for kind in KINDS} for _ in range(rounds)]
    middle = {kind: statistics.median(time[kind] for time in times) for kind in KINDS}
    say(f"[bold]{workload.what}[/bold]; {batch} pairs x {MICRO_BATCHES}: simper {middle['simper']:.3f} s a step")
    for kind in KINDS[1:]:
        ratios = [time[kind] / time["simper"] for time in times]
        say(
            f"    {kind}: {middle[kind]:.3f} s, [bold]{statistics.median(ratios):.2f}x[/bold] "
            f"({min(ratios):.2f} to {max(ratios):.2f}; target {workload.target}x)"
        )
    once = seconds_before["dpo"] - seconds_before["simper"]
    whole = (STEPS * middle["dpo"] + once) / (STEPS * middle["simper"])
    say(f"    dpo's reference pass: {once:.1f} s once; an epoch of {STEPS} steps with it: [bold]{whole:.2f}x[/bold]")
    del trainers, batches
    peaks = {kind: peak_memory(kind, folder, workload, batch) for kind in KINDS}
    for kind, (peak, above) in peaks.items():
        share = peaks["simper"][0] / peak
        say(f"    peak memory, {kind}: {peak:,.0f} MB, of which the steps {above:,.0f}; simper takes {share:.2f}x")


def main() -> None:
    """Print the comparison for each workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a model folder; default: the demo's, untrained")
    parser.add_argument("--pairs", type=Path, help="a pairs.parquet to take the lengths from")
    parser.add_argument("--batch", type=int, default=8, help="pairs of a micro-batch")
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = args.model or Path(name)
        if args.model is None:
            texts = [str(number) for number in range(10_000)]
            tokenizer = train_tokenizer(texts, vocab_size=VOCABULARY, chat_template="{{ messages }}")
            save_model(build_model(HybridShape(), tokenizer, seed=0), tokenizer, folder)
        for workload in workloads(STEPS * MICRO_BATCHES * args.batch, args.pairs):
            compare(workload, folder, args.batch, args.rounds)


if __name__ == "__main__":
    main()
