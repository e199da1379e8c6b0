"""The demo's SFT at several ratios of reasoning to non-reasoning tokens: what each ratio costs and gives in both modes.

    make bench-ratios

Every run trains on a million tokens, in steps of the same number of tokens, on the same model and rows; only the ratio
differs. Each is evaluated on 1,000 held-out problems. Runs that are there already are not run again; the table and the
picture are made of all of them.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from stages import run_stage

from posttrain.demo.data import Sizes, write_data
from posttrain.demo.prepare import prepare
from posttrain.terminal import say

RATIOS = (0.5, 1.0, 1.5, 2.0, 3.0)
TOKENS, TOKENS_PER_STEP = 1_000_000, 506  # what the demo's recipe trains on, all in all and in a step
ROW_TOKENS = {"reasoning": 54.6, "non_reasoning": 31.4}  # trained tokens of a row, on average
SIZES = Sizes(sft_reasoning=14_500, sft_non_reasoning=22_500, validation=1_000)  # enough that no row is seen twice
MODES = {"reasoning": "reasoning", "non_reasoning": "non-reasoning"}
FIGURES = {"accuracy": "accuracy %", "mode_adherence": "right mode %", "thinking_tokens": "thinking tokens"}


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ratios"))
    parser.add_argument("--ratios", nargs="+", type=float, default=list(RATIOS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only-table", action="store_true")
    args = parser.parse_args()
    for seed in args.seeds if not args.only_table else []:
        root = args.out / f"seed{seed}"
        if not (root / "base").is_dir():
            prepare(root, seed)
            write_data(root / "data", seed, SIZES)
        for ratio in args.ratios:
            train_and_evaluate(root, ratio, seed)
    print_table(args.out, args.ratios)
    draw(args.out, args.ratios)


def train_and_evaluate(root: Path, ratio: float, seed: int) -> None:
    """One run of the demo's recipe with another ratio, in processes of its own; finished ones are skipped."""
    run = root / f"ratio{ratio:g}"
    rows_per_token = sum(
        share / (1 + ratio) / ROW_TOKENS[mode] for mode, share in (("reasoning", ratio), ("non_reasoning", 1.0))
    )
    batch = round(TOKENS_PER_STEP * rows_per_token)
    common = [f"root={root}", f"seed={seed}"]
    run_stage(
        "sft",
        "demo/sft",
        *common,
        f"run={run}",
        f"mixer.args.shares.reasoning={ratio}",
        f"trainer.per_device_train_batch_size={batch}",
        f"trainer.max_steps={round(TOKENS * rows_per_token / batch)}",
        "trainer.logging_steps=100",
    )
    run_stage(
        "eval",
        "demo/eval",
        *common,
        f"run={run}-eval",
        f"model.path={run}/model",
        f"label=ratio {ratio:g} seed {seed}",
        f"data.sources.0.path={root}/data/validation.jsonl",
    )


def figures(out: Path, ratio: float, decoding: str) -> list[dict[str, Any]]:
    """The metrics of one decoding, of every seed that was run."""
    found = []
    for path in sorted(out.glob(f"seed*/ratio{ratio:g}-eval/eval.json")):
        (entry,) = (each for each in json.loads(path.read_text())["decodings"] if each["name"] == decoding)
        found.append(entry["groups"]["all"])
    return found


def values(seeds: list[dict[str, Any]], key: str) -> list[float]:
    """One figure of all seeds, shares in percent."""
    scale = 1 if key.endswith("_tokens") else 100
    return [scale * seed[key]["mean"] for seed in seeds]


def print_table(out: Path, ratios: list[float]) -> None:
    """Mean over seeds, with the seeds' own figures behind it."""
    for temperature in ("greedy", "T=0.6"):
        heads = [f"{name}: {title}" for name in MODES.values() for title in FIGURES.values()][:-1]
        say(f"| {temperature} | " + " | ".join(heads) + " |")
        say("|---|" + "---|" * len(heads))
        for ratio in ratios:
            cells = []
            for name in MODES.values():
                seeds = figures(out, ratio, f"{name}, {temperature}")
                for key in FIGURES:
                    each = values(seeds, key)
                    cells.append(f"{statistics.fmean(each):.1f} ({', '.join(f'{value:.1f}' for value in each)})")
            say(f"| {ratio:g} : 1 | " + " | ".join(cells[: len(heads)]) + " |")


def draw(out: Path, ratios: list[float]) -> None:
    """`ratios.svg`: accuracy and thinking tokens of both modes by ratio; lines are means, dots the seeds."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(FIGURES), figsize=(4 * len(FIGURES), 3.4))
    for panel, (key, title) in zip(panels, FIGURES.items(), strict=True):
        for name in MODES.values():
            for temperature, style in (("greedy", "-"), ("T=0.6", "--")):
                points = [values(figures(out, ratio, f"{name}, {temperature}"), key) for ratio in ratios]
                means = [statistics.fmean(point) for point in points]
                color = "tab:blue" if name == "reasoning" else "tab:orange"
                panel.plot(ratios, means, style, color=color, label=f"{name}, {temperature}")
                for ratio, point in zip(ratios, points, strict=True):
                    panel.plot([ratio] * len(point), point, ".", color=color, alpha=0.4, markersize=4)
        panel.axvline(1.5, color="gray", linewidth=0.8, linestyle=":")
        panel.set(title=title, xlabel="reasoning : non-reasoning, in trained tokens", xticks=ratios)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(out / "ratios.svg")


if __name__ == "__main__":
    main()
