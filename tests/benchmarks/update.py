"""The update phase of AGAPO against TRL's `GRPOTrainer`: same model, same stored rollouts, same optimizer.

    make bench-rl

A step takes stored responses and their rewards to updated weights: reference log-probabilities, advantages, forward,
backward, AdamW; sampling is left out. Each round runs both trainers one after the other, so that a noisy machine slows
both; printed is the median of the rounds' ratios. The gradients are compared too, where the objectives are equal: with
no dead group both are a policy gradient with batch-normalised advantages, summed over tokens. Peak memory is that of a
fresh process each.
"""

import argparse
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.environment import prepare_environment

prepare_environment()
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import memory  # noqa: E402  (after the environment is set)
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, Exaone4Config, Exaone4ForCausalLM  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402
from trl.kernels import ChunkedLogProbFunction  # noqa: E402

from posttrain.models.build import layer_types  # noqa: E402
from posttrain.models.head import WholeRowHead  # noqa: E402
from posttrain.models.tokenizer import train_tokenizer  # noqa: E402
from posttrain.rl import AGAPOConfig, AGAPOTrainer  # noqa: E402
from posttrain.terminal import say  # noqa: E402

GROUPS, GROUP_SIZE, MICRO_BATCHES = 8, 8, 8
VOCABULARY = 4096


@dataclass(frozen=True, slots=True)
class Workload:
    """What the stored rollouts look like."""

    what: str
    is_skewed: bool  # completion lengths: mean about 40 % of the maximum; else all at the maximum
    dead_groups: int  # all correct: no gradient under either objective
    beta: float
    target: float | None  # of the ratio, on a CPU
    max_tokens: int = 192  # of a response


WORKLOADS = {
    "a": Workload("skewed lengths, 3 of 8 groups dead, KL", True, 3, 0.04, 3.5),
    "b": Workload("skewed lengths, no dead group, KL", True, 0, 0.04, 2.2),
    "c": Workload("uniform lengths, no dead group, no KL", False, 0, 0.0, 1.3),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One batch of rollouts; `GRPOTrainer` wants prompts as text, so a prompt is the name of its group."""

    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    rewards: list[float]


def store(workload: Workload, eos_id: int) -> Stored:
    """Random tokens: what they say does not matter to the time."""
    rng = random.Random(0)
    prompts, completions, rewards = [], [], []
    for group in range(GROUPS):
        prompt = rng.choices(range(10, VOCABULARY), k=rng.randint(24, 64))
        for sample in range(GROUP_SIZE):
            share = min(1.0, 0.05 + rng.expovariate(1 / 0.37)) if workload.is_skewed else 1.0
            prompts.append(prompt)
            length = max(2, int(share * workload.max_tokens))
            completions.append([*rng.choices(range(10, VOCABULARY), k=length - 1), eos_id])
            rewards.append(1.0 if group < workload.dead_groups else float(sample % 4 == group % 4))
    return Stored(prompts, completions, rewards)


def make_trainer(kind: str, folder: Path, workload: Workload, device: str = "cpu", dtype: str = "float32") -> Any:
    """`kind` is "trl" or "agapo"; what both know has the same value in both."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    stored = store(workload, tokenizer.eos_token_id)
    settings = {
        "output_dir": str(folder / kind),
        "per_device_train_batch_size": GROUPS * GROUP_SIZE // MICRO_BATCHES,
        "gradient_accumulation_steps": MICRO_BATCHES,
        "num_generations": GROUP_SIZE,
        "max_completion_length": workload.max_tokens,
        "beta": workload.beta,
        "learning_rate": 0.0,  # every step does the same work
        "use_cpu": device == "cpu",
        "bf16": dtype == "bfloat16",
        "gradient_checkpointing": False,
        "report_to": [],
        "use_vllm": False,
    }
    common = {
        "model": AutoModelForCausalLM.from_pretrained(folder, dtype=dtype),
        "reward_funcs": [lambda completion_ids, **_: stored.rewards],
        "train_dataset": Dataset.from_list([{"prompt": f"group {index}"} for index in range(GROUPS)]),
        "processing_class": tokenizer,
        "rollout_func": lambda prompts, trainer: {
            "prompt_ids": stored.prompt_ids,
            "completion_ids": stored.completion_ids,
            "logprobs": None,
        },
    }
    if kind == "trl":
        args = GRPOConfig(loss_type="dr_grpo", scale_rewards="batch", **settings)
        trainer: Any = GRPOTrainer(args=args, **common)
    else:
        trainer = AGAPOTrainer(args=AGAPOConfig(**settings), **common)
    trainer.create_optimizer_and_scheduler(num_training_steps=100)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = MICRO_BATCHES
    return trainer


def accumulate(trainer: Any) -> None:
    """Everything from stored rollouts to the gradient, as `Trainer.train` does it."""
    trainer.model.zero_grad()
    inputs = [{"prompt": "group"}] * (GROUPS * GROUP_SIZE)
    for index in range(MICRO_BATCHES):
        trainer.accelerator.gradient_state._set_sync_gradients(index == MICRO_BATCHES - 1)
        trainer.training_step(trainer.model, inputs, None)


def step(trainer: Any) -> float:
    """Seconds of one update."""
    device = trainer.accelerator.device.type
    synchronize(device)
    began = time.perf_counter()
    accumulate(trainer)
    trainer.optimizer.step()
    synchronize(device)
    return time.perf_counter() - began


def synchronize(device: str) -> None:
    """Wait for what a GPU has been asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


def gradient(trainer: Any) -> torch.Tensor:
    accumulate(trainer)
    return torch.cat([parameter.grad.flatten().float() for parameter in trainer.model.parameters()])


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Relative difference of two gradients after the one scale that may differ: the divisor of the advantages."""
    scale = (ours @ theirs) / (theirs @ theirs)
    return float((ours - scale * theirs).norm() / ours.norm())


def save_model(folder: Path) -> None:
    """A hybrid 3:1 model of about 8 million parameters."""
    tokenizer = train_tokenizer(["a few words for a tokenizer"], vocab_size=300, chat_template="{{ messages }}")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    Exaone4ForCausalLM(
        Exaone4Config(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=8,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=32,
            sliding_window=64,
            layer_types=layer_types(8, 3),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder)


def peak_memory(kind: str, folder: Path, workload: Workload) -> float:
    """Peak resident memory of an update in a process of its own, MB above what was resident before it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (kind, folder, workload))


def _peak_memory(kind: str, folder: Path, workload: Workload) -> float:
    trainer = make_trainer(kind, folder, workload)
    step(trainer)
    before = memory.resident()
    memory.forget_peak()
    step(trainer)
    return memory.peak() - before


def compare_heads(rounds: int) -> None:
    """The head alone, forward and backward, on 1,536 tokens: upstream's tiles against our whole rows."""
    hidden, weight = torch.randn(1536, 256, requires_grad=True), torch.randn(VOCABULARY, 256, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (1536,))

    def seconds(head: Any) -> float:
        began = time.perf_counter()
        logps, *_ = head.apply(hidden, weight, None, targets, 1.0, 32768, None, 1.0, ("log_probs", "entropy"))
        logps.sum().backward()
        return time.perf_counter() - began

    times = [(seconds(ChunkedLogProbFunction), seconds(WholeRowHead)) for _ in range(rounds + 1)][1:]
    say(f"head alone: {statistics.median(theirs / ours for theirs, ours in times):.2f}x")


def main() -> None:
    """Print a line per workload: seconds, ratio, target, and what else is compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workloads", default="abc")
    args = parser.parse_args()
    compare_heads(args.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder)
        for letter in args.workloads:
            compare(letter, WORKLOADS[letter], folder, args.rounds)


def compare(
    letter: str, workload: Workload, folder: Path, rounds: int, *, device: str = "cpu", dtype: str = "float32"
) -> None:
    """Both trainers in turn, after a step that warms them up."""
    trainers = {kind: make_trainer(kind, folder, workload, device, dtype) for kind in ("trl", "agapo")}
    run: Callable[[str], float] = lambda kind: step(trainers[kind])  # noqa: E731
    for kind in trainers:
        run(kind)  # warms up
    times = [(run("trl"), run("agapo")) for _ in range(rounds)]
    ratios = [theirs / ours for theirs, ours in times]
    theirs, ours = (statistics.median(column) for column in zip(*times, strict=True))
    say(
        f"({letter}) {workload.what}: trl {theirs:.2f} s, agapo {ours:.2f} s, "
        f"[bold]{statistics.median(ratios):.2f}x[/bold] ({min(ratios):.2f} to {max(ratios):.2f}"
        f"{f'; target {workload.target}x' if workload.target else ''})"
    )
    if not workload.dead_groups:
        apart = difference(gradient(trainers["agapo"]), gradient(trainers["trl"]))
        say(f"    gradients differ by {apart:.1e} (relative)")
    if letter == "c":
        peaks = {kind: peak_memory(kind, folder, workload) for kind in trainers}
        say(f"    peak memory above rest: trl {peaks['trl']:,.0f} MB, agapo {peaks['agapo']:,.0f} MB")


if __name__ == "__main__":
    main()
