"""How many sliding layers to a full one? The same small model at several ratios, through the same needle gate.

    make bench-layers

Every model has ten layers and a window of 32 tokens. The context stage takes it from random weights through two
lengths, 256 and 1,024 tokens, each left only when the gate passes; then it is asked for needles at lengths up to 8,192,
which it was never trained on. Runs that are there already are not run again; the tables and the picture are made of all
of them.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from haystack_model import haystack_tokenizer
from stages import run_stage

from posttrain.models.attention import SEGMENTS
from posttrain.models.build import HybridShape, build_model
from posttrain.models.load import save_model
from posttrain.terminal import say

RATIOS = {"1:1": 1, "2:1": 2, "3:1": 3, "4:1": 4, "full": 0}
WINDOW = 32
SHAPE = HybridShape(
    hidden_size=64,
    num_layers=10,
    intermediate_size=192,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    sliding_window=WINDOW,
    max_position_embeddings=256,
)
LENGTHS = (256, 1024, 2048, 4096, 8192)
TIMED_TOKENS = 32
FACT_DISTANCES = (1, 8, 32, 128, 256)  # in windows, upper bounds


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/layers"))
    parser.add_argument("--ratios", nargs="+", choices=RATIOS, default=list(RATIOS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--languages", nargs="+", default=["en"])
    parser.add_argument("--only-tables", action="store_true")
    args = parser.parse_args()
    tokenizer = haystack_tokenizer(args.languages)
    for seed in [] if args.only_tables else args.seeds:
        for ratio in args.ratios:
            train_and_evaluate(args.out, ratio, seed, tokenizer, args.languages)
    print_learning(args.out, args.ratios)
    print_accuracy(args.out, args.ratios)
    print_costs(args.ratios, tokenizer)
    draw(args.out, args.ratios)


def train_and_evaluate(out: Path, ratio: str, seed: int, tokenizer: Any, languages: list[str]) -> None:
    """One model through the stages, in processes of its own; a gate that never passes is a result like any other."""
    name, start = f"{ratio.replace(':', '-')}-seed{seed}", out / f"start-{ratio.replace(':', '-')}-seed{seed}"
    if not start.is_dir():
        save_model(build_model(shape_of(ratio), tokenizer, seed=seed), tokenizer, start)
    common, asked = [f"seed={seed}"], f"[{', '.join(languages)}]"
    run = out / name
    if not (run / "1024" / "model").is_dir():
        run_stage(
            "context",
            "context/layers",
            *common,
            f"run={run}",
            f"model.path={start}",
            f"documents.languages={asked}",
            f"gate.languages={asked}",
            check=False,
        )
    reached = next(run / stage / "model" for stage in ("1024", "256") if (run / stage / "model").is_dir())
    run_stage(
        "eval",
        "context/eval",
        *common,
        f"run={run}-eval",
        f"model.path={reached}",
        f"label={ratio}",
        f"benchmarks.0.args.languages={asked}",
        f"benchmarks.0.args.lengths=[{', '.join(map(str, LENGTHS))}]",
    )


def shape_of(ratio: str) -> HybridShape:
    """The model's sizes at a ratio."""
    return replace(SHAPE, local_layers=RATIOS[ratio])


def runs_of(out: Path, ratio: str) -> list[Path]:
    """The runs of all seeds."""
    return sorted(path for path in out.glob(f"{ratio.replace(':', '-')}-seed*") if not path.name.endswith("-eval"))


def gates(run: Path, stage: str) -> list[dict[str, Any]]:
    """The gates of a stage, from its first slice on."""
    path = run / stage / "gate.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [line for line in lines if line["step"]]


def print_learning(out: Path, ratios: list[str]) -> None:
    """Tokens until the gate passed, by stage."""
    say("| sliding : full | full layers | tokens until all cells pass at 256 | then at 1,024 |")
    say("|---|---|---|---|")
    for ratio in ratios:
        num_full = shape_of(ratio).layer_types.count("full_attention")
        cells = []
        for stage in ("256", "1024"):
            seeds = [gates(run, stage) for run in runs_of(out, ratio)]
            cells.append(", ".join(told(seed[-1]) if seed else "not reached" for seed in seeds))
        say(f"| {ratio} | {num_full} | {' | '.join(cells)} |")
    say("")


def told(gate: dict[str, Any]) -> str:
    """What the last gate of a stage says."""
    tokens = f"{gate['tokens'] / 1e6:.2f} M"
    return tokens if gate["is_passed"] else f"not within {tokens}"


def answers(out: Path, ratio: str) -> list[list[dict[str, Any]]]:
    """The evaluation's samples, seed by seed."""
    paths = [run.with_name(f"{run.name}-eval") / "samples.jsonl" for run in runs_of(out, ratio)]
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in paths if path.is_file()]


def accuracy(samples: list[dict[str, Any]], **cell: Any) -> float:
    """Share of right answers in a cell, in percent."""
    chosen = [bool(sample["outcome"]) for sample in samples if cell.items() <= sample["cell"].items()]
    return 100 * statistics.fmean(chosen)


def print_accuracy(out: Path, ratios: list[str]) -> None:
    """By task and length, and by the distance between fact and question."""
    for task in ("needle", "multi_key"):
        say(f"| {task}, % right | " + " | ".join(f"{length:,}" for length in LENGTHS) + " |")
        say("|---|" + "---|" * len(LENGTHS))
        for ratio in ratios:
            seeds = answers(out, ratio)
            row = [[accuracy(samples, task=task, length=length) for samples in seeds] for length in LENGTHS]
            say(f"| {ratio} | " + " | ".join(map(mean_and_seeds, row)) + " |")
        say("")
    say(
        "| needle, % right, by distance in windows | " + " | ".join(f"up to {bound}" for bound in FACT_DISTANCES) + " |"
    )
    say("|---|" + "---|" * len(FACT_DISTANCES))
    for ratio in ratios:
        row = [[by_distance(samples)[bound] for samples in answers(out, ratio)] for bound in FACT_DISTANCES]
        say(f"| {ratio} | " + " | ".join(map(mean_and_seeds, row)) + " |")
    say("")


def by_distance(samples: list[dict[str, Any]]) -> dict[int, float]:
    """Percent of needles found, by the windows that lie between needle and question."""
    outcomes = defaultdict(list)
    for sample in (sample for sample in samples if sample["cell"]["task"] == "needle"):
        windows = (1 - sample["cell"]["depth"]) * sample["cell"]["length"] / WINDOW
        outcomes[next(bound for bound in FACT_DISTANCES if windows <= bound)].append(bool(sample["outcome"]))
    return {bound: 100 * statistics.fmean(found) for bound, found in outcomes.items()}


def mean_and_seeds(values: list[float]) -> str:
    """`92.5 (90, 95)`."""
    return f"{statistics.fmean(values):.1f} ({', '.join(f'{value:.0f}' for value in values)})" if values else ""


def print_costs(ratios: list[str], tokenizer: Any) -> None:
    """Training and generation speed and the cache's bytes, measured at growing lengths."""
    say(
        "| "
        + " | ".join(["at length", "sliding : full", "training tokens/s", "generated tokens/s", "cache bytes"])
        + " |"
    )
    say("|---|---|---|---|---|")
    for length in LENGTHS[1:]:
        for ratio in ratios:
            model = build_model(shape_of(ratio), tokenizer, seed=0)
            model.set_attn_implementation(SEGMENTS)
            ids_1T = torch.randint(10, 400, (1, length), generator=torch.Generator().manual_seed(0))
            generated, cache_bytes = generation(model, ids_1T)
            say(f"| {length:,} | {ratio} | {training(model, ids_1T):,.0f} | {generated:,.1f} | {cache_bytes:,} |")
    say("")


def training(model: Any, ids_1T: torch.Tensor) -> float:
    """Tokens a CPU second of forward and backward pass; the best of three."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        model(input_ids=ids_1T, labels=ids_1T, use_cache=False).loss.backward()
        seconds.append(time.process_time() - began)
    return ids_1T.shape[1] / min(seconds)


@torch.inference_mode()
def generation(model: Any, ids_1T: torch.Tensor) -> tuple[float, int]:
    """Tokens a CPU second behind a prompt that is in the cache, and the bytes of that cache."""
    model.eval()
    cache = model(input_ids=ids_1T, use_cache=True).past_key_values
    token_11 = ids_1T[:, -1:]
    began = time.process_time()
    for _ in range(TIMED_TOKENS):
        token_11 = model(input_ids=token_11, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
    seconds = time.process_time() - began
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    model.train()
    return TIMED_TOKENS / seconds, sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def draw(out: Path, ratios: list[str]) -> None:
    """`layers.svg`: accuracy by length for both tasks; lines are means, dots the seeds."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for panel, task in zip(panels, ("needle", "multi_key"), strict=True):
        for ratio in ratios:
            points = [
                [accuracy(samples, task=task, length=length) for samples in answers(out, ratio)] for length in LENGTHS
            ]
            (line,) = panel.plot(LENGTHS, list(map(statistics.fmean, points)), label=ratio)
            for length, point in zip(LENGTHS, points, strict=True):
                panel.plot([length] * len(point), point, ".", color=line.get_color(), alpha=0.4, markersize=4)
        panel.axvline(1024, color="gray", linewidth=0.8, linestyle=":")
        panel.set_xscale("log", base=2)
        panel.set(
            title=task, xlabel="length in tokens", xticks=LENGTHS, xticklabels=[f"{length:,}" for length in LENGTHS]
        )
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("% right")
    panels[0].legend(frameon=False, fontsize=8, title="sliding : full")
    figure.tight_layout()
    figure.savefig(out / "layers.svg")


if __name__ == "__main__":
    main()
