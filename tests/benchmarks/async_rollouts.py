"""The same RL steps with rollouts of now and with rollouts sampled ahead: what runs when, and how long a step takes.

    posttrain demo                # for its SFT model and prompts
    make bench-async

Three ways, each in a fresh process: engine and trainer take turns in one process on one core, or on both; or the engine
samples ahead on one core while the trainer updates on the other. The first step is a warm-up. The timeline shows that
the rollouts of the next batch begin before the update of this one ends.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = {"in turns, one core": (0, 1), "in turns, two cores": (0, 2), "ahead, one core each": (1, 1)}
WARM_UP = 2  # batches: the first two have the same weights


def main() -> None:
    """Run all and print the timeline and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--responses", type=int, default=256, help="of a batch")
    parser.add_argument("--rounds", type=int, default=1, help="a shared machine is slower at times: take medians")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        way, file = args.one
        Path(file).write_text(json.dumps(run(args, *WAYS[way])))
        return
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    work: dict[str, list[float]] = {"sample": [], "update": []}  # CPU seconds, in turns on one core
    for _ in range(args.rounds):
        for way in WAYS:
            with tempfile.NamedTemporaryFile() as file:
                words = [sys.executable, *sys.argv, "--one", way, file.name]
                threads = {"OMP_NUM_THREADS": str(WAYS[way][1])}
                subprocess.run(words, check=True, env={**os.environ, **threads}, stdout=subprocess.DEVNULL)
                spans = json.loads(Path(file.name).read_text())
            ends = [end for _, end, _ in spans["update"]]
            for part, each in work.items() if way == "in turns, one core" else ():
                each += [cpu for *_, cpu in spans[part][WARM_UP:]]
            seconds[way].append((ends[-1] - ends[WARM_UP - 1]) / (len(ends) - WARM_UP))
            sys.stdout.write("".join(f"{line}\n" for line in [f"\n{way}", *timeline(spans)]))
    base = seconds["in turns, one core"]
    sys.stdout.write("\n| way | seconds a step | steps per second, against in turns on one core |\n|---|---|---|\n")
    for way, each in seconds.items():
        ratio = statistics.median(first / own for first, own in zip(base, each, strict=True))
        sys.stdout.write(f"| {way} | {statistics.median(each):.2f} | {ratio:.2f} |\n")
    sample, update = (statistics.median(each) for each in work.values())
    sys.stdout.write(
        f"CPU seconds of a batch: {sample:.2f} to sample it, {update:.2f} to update with it; ahead, a step takes "
        f"{max(sample, update):.2f} s at best, {(sample + update) / max(sample, update):.2f} times as fast\n"
    )


def timeline(spans: dict[str, list[list[float]]]) -> list[str]:
    """A line for each batch: when it was sampled, and when it was updated with, in seconds from the first sample on."""
    zero = spans["sample"][0][0]
    lines = []
    for number, (sampled, updated) in enumerate(zip(spans["sample"], spans["update"], strict=True)):
        began, ended, first, last = (moment - zero for moment in (*sampled[:2], *updated[:2]))
        before = max(0.0, spans["update"][number - 1][1] - sampled[0]) if number else 0.0
        lines.append(
            f"  batch {number}: sampled {began:6.1f} to {ended:6.1f}, update {first:6.1f} to {last:6.1f}; "
            f"its sampling began {before:.1f} s before the end of the update before"
        )
    return lines


def run(args: argparse.Namespace, staleness: int, cores: int) -> dict[str, list[list[float]]]:
    """Train; beginning, end and this process's CPU seconds of every sampling and every update, without the grading."""
    os.sched_setaffinity(0, range(cores))
    from posttrain.environment import prepare_environment

    prepare_environment()
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # vLLM would take all cores
    trainer = build(args, staleness)
    if staleness:
        os.sched_setaffinity(trainer.vllm_generation.process.pid, {1})
    spans: dict[str, list[list[float]]] = {"sample": [], "update": []}
    updated_cpu = 0.0

    def generate(original: Any, *words: Any, **options: Any) -> Any:
        began, cpu = time.time(), time.process_time()
        output = original(*words, **options)
        taken = getattr(trainer.vllm_generation, "taken", None)
        began, ended = (taken.began, taken.ended) if taken else (began, time.time())
        spans["sample"].append([began, ended, time.process_time() - cpu])
        return output

    def note(_: Any) -> None:
        nonlocal updated_cpu
        spans["update"].append([time.time(), time.time(), 0.0])
        updated_cpu = time.process_time()

    def step(original: Any, *words: Any, **options: Any) -> Any:
        output = original(*words, **options)
        spans["update"][-1][1:] = [time.time(), time.process_time() - updated_cpu]
        return output

    for name, wrapper in (("_generate_single_turn", generate), ("training_step", step)):
        original = getattr(trainer, name)
        setattr(trainer, name, lambda *words, of=original, by=wrapper, **options: by(of, *words, **options))
    trainer._on_rollouts = note
    trainer.train()
    return spans


def build(args: argparse.Namespace, staleness: int) -> Any:
    """The demo's trainer, with a smaller batch."""
    import torch
    from datasets import Dataset

    from posttrain.data.rows import read_all
    from posttrain.grading import GradingPool
    from posttrain.inference.engine import end_token_ids
    from posttrain.models.load import load_model, load_tokenizer
    from posttrain.recipe import GradingSection, ModelSection, RewardSpec
    from posttrain.recipe.sections import Source
    from posttrain.rl import AGAPOConfig, AGAPOTrainer
    from posttrain.rl.bridge import RewardBridge
    from posttrain.rl.stage import prompt_columns

    section = ModelSection(path=str(args.demo / "sft/model"))
    tokenizer = load_tokenizer(section)
    model = load_model(section, tokenizer)
    rows = read_all([Source(path=str(args.demo / "data/rl.jsonl"))])
    grader = GradingPool([RewardSpec(use="rewards.math_answer:math_answer")], GradingSection())
    bridge = RewardBridge(grader, tokenizer, end_token_ids(model.generation_config, tokenizer))
    return AGAPOTrainer(
        model=model,
        reward_funcs=bridge.functions(),
        args=AGAPOConfig(
            output_dir=tempfile.mkdtemp(),
            staleness=staleness,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=32,
            gradient_accumulation_steps=args.responses // 32,
            num_generations=8,
            max_steps=args.steps,
            max_completion_length=160,
            use_vllm=True,
            vllm_max_model_length=384,
            learning_rate=5e-4,
            lr_scheduler_type="constant",
            reward_weights=[1.0, 0.0],
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([prompt_columns(tokenizer, row) for row in rows]),
        processing_class=tokenizer,
    )


if __name__ == "__main__":
    main()
