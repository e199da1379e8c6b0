"""A context grown from 256 to 4,096 tokens on one core: does the gate hold a stage back, and are short rows unharmed?

    make bench-context

A tiny hybrid with a window of 32 tokens learns short documents from random weights (recipes/context/start.yaml), then
its context is extended (recipes/context/tiny.yaml). What is finished is not run again.
"""

import argparse
import json
from pathlib import Path

from haystack_model import haystack_tokenizer
from stages import run_stage

from posttrain.haystack import make_documents
from posttrain.models.build import HybridShape, build_model
from posttrain.models.load import save_model
from posttrain.terminal import say

LANGUAGES = ["en", "ko", "es"]
SHAPE = HybridShape(
    hidden_size=64,
    num_layers=8,
    intermediate_size=192,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    sliding_window=32,
    max_position_embeddings=256,
)
NUM_SHORT = {"replay": 4_000, "validation": 200}  # rows


def main() -> None:
    """Run what is missing, and print what the gates said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/context"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    for seed in args.seeds:
        root = args.out / f"seed{seed}"
        prepare(root, seed)
        for recipe in ("start", "tiny"):
            run_stage("context", f"context/{recipe}", f"root={root}", f"seed={seed}")
    print_gates(args.out, args.seeds)


def prepare(root: Path, seed: int) -> None:
    """The untrained model, and short rows that the ladder's documents do not have: to be replayed, and held out."""
    tokenizer = haystack_tokenizer(LANGUAGES)
    if not (root / "untrained").is_dir():
        save_model(build_model(SHAPE, tokenizer, seed=seed), tokenizer, root / "untrained")
    start = 0
    for name, count in NUM_SHORT.items():
        rows = make_documents(
            tokenizer,
            lengths=(96, 256),
            languages=LANGUAGES,
            count=start + count,
            start=start,
            seed=10_000 + seed,
        )
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        start += count


def print_gates(out: Path, seeds: list[int]) -> None:
    """A line a gate: which cells failed, and the loss on short rows."""
    say("| seed | stage | tokens | cells that fail | lowest cell | loss on short rows |")
    say("|---|---|---|---|---|---|")
    for seed in seeds:
        for stage in ("start/256", "ladder/1k", "ladder/4k"):
            for line in (out / f"seed{seed}" / stage / "gate.jsonl").read_text().splitlines():
                gate = json.loads(line)
                if not gate["step"]:
                    continue
                shares = [cell["accuracy"] for cell in gate["cells"]]
                shown = "" if gate["short_loss"] is None else f"{gate['short_loss']:.4f} ({gate['short_rise']:+.1%})"
                fails = sum(share < 1 for share in shares)
                cells = f"{fails} of {len(shares)} | {min(shares):.0%}"
                say(f"| {seed} | {stage} | {gate['tokens']:,} | {cells} | {shown} |")


if __name__ == "__main__":
    main()
