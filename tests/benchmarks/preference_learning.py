"""What the two preference stages do to the demo's model, against other objectives on the same pairs.

    posttrain demo --root runs/demo --seed 0     (and --root runs/demo-1 --seed 1, --root runs/demo-2 --seed 2)
    make bench-preference-learning

Every run starts from a demo's AGAPO model. Stage 1: pairs are sampled once, and each objective trains on the same by
the demo's recipe. Stage 2: from stage 1's SimPER model, with and without a fifth of stage 1's pairs. Models are
evaluated on 1,200 problems of the validation split. Runs that are there already are not run again.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from stages import run_stage

from posttrain.demo.data import Sizes, write_data
from posttrain.terminal import say

STAGE_1 = {
    "SimPER": (),
    "group-wise SimPER": ("objective=group_simper", "trainer.per_device_train_batch_size=4"),
    "DPO": ("objective=dpo",),
    "SimPO": ("objective=simpo",),
}
STAGE_2 = {"nothing of stage 1": 0.0, "a fifth of stage 1": 0.2}
START = "AGAPO, where all start"
FIGURES = {"accuracy": "accuracy %", "thinking_tokens": "thinking tokens", "language_consistency": "right language %"}


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demos", nargs="+", type=Path, default=[Path(f"runs/demo{n}") for n in ("", "-1", "-2")])
    parser.add_argument("--out", type=Path, default=Path("runs/preference-learning"))
    parser.add_argument("--only-tables", action="store_true")
    args = parser.parse_args()
    roots = [args.out / f"seed{seed}" for seed in range(len(args.demos))]
    for seed, (demo, root) in enumerate(zip(args.demos, roots, strict=True)):
        if not args.only_tables:
            learn(demo, root, seed)
    print_table("stage 1", [START, *STAGE_1], roots, ["reasoning, greedy", "reasoning, T=0.6"])
    both_modes = ["reasoning, greedy", "reasoning, T=0.6", "non-reasoning, greedy", "non-reasoning, T=0.6"]
    print_table("stage 2", ["SimPER", *STAGE_2], roots, both_modes)


def learn(demo: Path, root: Path, seed: int) -> None:
    """All runs of one seed."""
    if not (root / "data").is_dir():
        write_data(root / "data", seed, Sizes(validation=1_200))

    def posttrain(stage: str, recipe: str, *overrides: str) -> None:
        run_stage(stage, f"demo/{recipe}", f"root={root}", f"seed={seed}", *overrides)

    def evaluate(name: str, model: Path) -> None:
        data = f"data.sources.0.path={root}/data/validation.jsonl"
        posttrain(
            "eval", "eval", f"model.path={model}", f"run={root / 'eval'}-{slug(name)}", f"label={slug(name)}", data
        )

    start = demo / "rl/model"
    evaluate(START, start)
    posttrain("pairs", "pairs-stage1", f"model.path={start}")
    for name, overrides in STAGE_1.items():
        run = root / slug(name)
        files = [f"pairs.0={root}/pairs-stage1/pairs.parquet", f"samples=[{root}/pairs-stage1/samples.parquet]"]
        posttrain("pref", "pref-stage1", f"model.path={start}", f"run={run}", *files, *overrides)
        evaluate(name, run / "model")
    shorter = f"model.path={root / slug('SimPER')}/model"
    posttrain("pairs", "pairs-stage2", shorter)
    for name, share in STAGE_2.items():
        pairs, run = root / f"pairs-{slug(name)}", root / slug(name)
        reuse = (f"pairs.reuse_stage1={share}", f"pairs.stage1={root}/pairs-stage1/pairs.parquet")
        posttrain("pairs", "pairs-stage2", shorter, f"run={pairs}", f"samples={root}/pairs-stage2", *reuse)
        posttrain("pref", "pref-stage2", shorter, f"run={run}", f"pairs.0={pairs}/pairs.parquet")
        evaluate(name, run / "model")


def slug(name: str) -> str:
    """A folder's name."""
    return name.lower().replace(",", "").replace(" ", "-")


def print_table(title: str, names: list[str], roots: list[Path], decodings: list[str]) -> None:
    """Mean over seeds, with the seeds' own figures behind it."""
    for decoding in decodings:
        say(f"| {title}, {decoding} | {' | '.join(FIGURES.values())} |")
        say("|---|" + "---|" * len(FIGURES))
        for name in names:
            found = [figures(root / f"eval-{slug(name)}" / "eval.json", decoding) for root in roots]
            seeds = [each for each in found if each is not None]
            cells = [_cell([_value(seed, key) for seed in seeds]) if seeds else "-" for key in FIGURES]
            say(f"| {name} | {' | '.join(cells)} |")


def figures(path: Path, decoding: str) -> dict[str, Any] | None:
    """The metrics of one decoding; None: it was not run."""
    if not path.is_file():
        return None
    entries = json.loads(path.read_text())["decodings"]
    found: dict[str, Any] = next(entry for entry in entries if entry["name"] == decoding)["groups"]["all"]
    return found


def _value(metrics: dict[str, Any], key: str) -> float:
    return float(metrics[key]["mean"]) * (1 if key.endswith("_tokens") else 100)


def _cell(values: list[float]) -> str:
    return f"{statistics.fmean(values):.1f} ({', '.join(f'{value:.1f}' for value in values)})"


if __name__ == "__main__":
    main()
