"""Does the demo learn as much from rollouts that were sampled ahead? Same start, prompts and seeds, each staleness.

    posttrain demo                # the model that all runs start from
    make bench-async-learning

Runs that are there already are not run again; the table is made of all of them.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from stages import run_stage

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # Student's t, 1 to 9 degrees of freedom
DECODINGS = ("reasoning, greedy", "reasoning, T=0.6")


def main() -> None:
    """Run what is missing, then print the table and the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="a demo's folder, its SFT done")
    parser.add_argument("--out", type=Path, default=Path("runs/async"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--staleness", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--only-table", action="store_true")
    args = parser.parse_args()
    for seed in args.seeds if not args.only_table else []:
        for staleness in args.staleness:
            learn(args.demo, args.out / f"staleness{staleness}-seed{seed}", staleness, seed, args.steps)
    for line in table(args.out, args.staleness, args.seeds):
        sys.stdout.write(line + "\n")


def learn(demo: Path, folder: Path, staleness: int, seed: int, steps: int) -> None:
    """One run and its evaluation on the test problems."""
    settings = (f"trainer.staleness={staleness}", f"trainer.max_steps={steps}", "trainer.save_steps=1000")
    run_stage("rl", "demo/rl", f"root={demo}", f"run={folder / 'rl'}", f"seed={seed}", *settings)
    words = (f"root={demo}", f"run={folder / 'eval'}", f"model.path={folder / 'rl/model'}", f"label={folder.name}")
    run_stage("eval", "demo/eval", *words)


def table(out: Path, staleness: list[int], seeds: list[int]) -> list[str]:
    """Accuracy in percent, mean and each seed; then each staleness less the first, paired, with a 95 % interval."""
    figures = {
        (each, seed): figures_of(out / f"staleness{each}-seed{seed}")
        for each in staleness
        for seed in seeds
        if (out / f"staleness{each}-seed{seed}/eval/eval.json").is_file()
    }
    names = (*DECODINGS, "while learning")
    lines = [f"| staleness | {' | '.join(f'{name} %' for name in names)} |", "|---|" + "---|" * len(names)]
    for each in staleness:
        columns = zip(*(values for (stale, _), values in figures.items() if stale == each), strict=True)
        cells = [f"{statistics.fmean(column):.1f} ({', '.join(f'{v:.1f}' for v in column)})" for column in columns]
        lines.append(f"| {each} | {' | '.join(cells)} |")
    for each in staleness[1:]:
        pairs = [(figures[each, seed], figures[staleness[0], seed]) for seed in seeds if (each, seed) in figures]
        if len(pairs) > 1:
            columns = zip(*([ours - base for ours, base in zip(*pair, strict=True)] for pair in pairs), strict=True)
            lines.append(f"| {each} less {staleness[0]} | {' | '.join(interval(column) for column in columns)} |")
    return lines


def figures_of(folder: Path) -> list[float]:
    """Accuracies after training, and the mean share of right samples over all batches; in percent."""
    decodings = json.loads((folder / "eval/eval.json").read_text())["decodings"]
    accuracy = {each["name"]: each["groups"]["all"]["accuracy"]["mean"] for each in decodings}
    outcomes = [json.loads(line)["outcome"] for line in (folder / "rl/metrics.jsonl").read_text().splitlines()]
    return [*(100 * accuracy[name] for name in DECODINGS), 100 * statistics.fmean(outcomes)]


def interval(differences: tuple[float, ...]) -> str:
    """Mean with a 95 % interval by Student's t."""
    half = T_975[len(differences) - 2] * statistics.stdev(differences) / len(differences) ** 0.5
    return f"{statistics.fmean(differences):+.1f} ± {half:.1f}"


if __name__ == "__main__":
    main()
