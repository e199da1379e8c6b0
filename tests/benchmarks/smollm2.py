"""The whole recipe on a real chat model, on a CPU: what does each stage change?

    make bench-smollm ARGS="--model FOLDER"

FOLDER holds SmolLM2-135M-Instruct as plain weights. Every recipe of `recipes/smollm2-135m` runs in order, each model is
evaluated, and `OUT/report/report.html` shows them.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from stages import run_stage

STEPS = (  # stage, recipe
    ("sft", "sft"),
    ("sft", "sft_round2"),
    ("filter", "filter"),
    ("rl", "rl"),
    ("pairs", "pairs-stage1"),
    ("pref", "pref-stage1"),
    ("pairs", "pairs-stage2"),
    ("pref", "pref-stage2"),
)


def main() -> None:
    """Run every stage, and an evaluation after each that trains; finished ones are not run again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="SmolLM2-135M-Instruct")
    parser.add_argument("--out", type=Path, default=Path("runs/smollm2"))
    args = parser.parse_args()
    subprocess.run([sys.executable, "recipes/smollm2-135m/prepare.py", args.out / "data"], check=True)

    def posttrain(stage: str, recipe: str, *overrides: str) -> None:
        run_stage(stage, f"smollm2-135m/{recipe}", f"root={args.out}", *overrides)

    def evaluate(model: str, name: str) -> None:
        posttrain("eval", "eval", f"model.path={model}", f"run={args.out}/eval-{name}", f"label={name}")

    evaluate(args.model, "before")
    for stage, recipe in STEPS:
        first = [f"model.path={args.model}"] if recipe == "sft" else []
        posttrain(stage, recipe, *first)
        if stage in ("sft", "rl", "pref"):
            name = recipe.replace("_", "-")
            evaluate(f"{args.out}/{name}/model", name)
    posttrain("eval", "profile")
    posttrain("report", "report")


if __name__ == "__main__":
    main()
