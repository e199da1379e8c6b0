"""A real chat model without thinking is taught two modes, on a CPU, and then RL: what does each mode cost and give?

    make bench-modes ARGS="--model FOLDER"

FOLDER holds SmolLM2-135M-Instruct as plain weights. A few hundred rows of both modes, sums in words, go through
`recipes/smollm2-135m/sft.yaml`, and as many questions through `rl.yaml`; `profile.yaml` measures the model before,
between and after. Problems of the profile are in no training row.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages import run_stage

from posttrain.runs import write_text_atomically

NAMES = ("Anna", "Ben", "Carla", "David", "Ella", "Farid", "Grace", "Hugo")
THINGS = ("apples", "pencils", "marbles", "stickers", "books", "coins", "cards", "shells")
CHANGES = range(3, 6)  # of the number, in one problem
ROWS = {"reasoning": 300, "non_reasoning": 300, "test": 60, "rl": 200}


def problem(rng: random.Random) -> tuple[str, list[str], int]:
    """A question, the steps to its answer, and the answer."""
    name, thing, number = rng.choice(NAMES), rng.choice(THINGS), rng.randint(2, 9)
    begins, changes, steps = number, [], []
    for _ in range(rng.choice(CHANGES)):
        change = rng.randint(2, 9)
        gets = number - change < 1 or rng.random() < 0.5
        after = number + change if gets else number - change
        changes.append(f"{'gets' if gets else 'gives away'} {change}")
        steps.append(f"{number} {'+' if gets else '-'} {change} = {after}")
        number = after
    told = f"{', '.join(changes[:-1])} and {changes[-1]}"
    question = f"{name} has {begins} {thing}, then {told}. How many {thing} does {name} have now?"
    return question, steps, number


def rows(split: str, rng: random.Random, seen: set[str]) -> Iterator[dict[str, Any]]:
    """As many rows as `ROWS` says: those of a mode with their response, the others with the answer alone."""
    count = 0
    while count < ROWS[split]:
        question, steps, number = problem(rng)
        if question in seen:
            continue
        seen.add(question)
        count += 1
        asked: dict[str, Any] = {"role": "user", "content": question}
        reply: dict[str, Any] = {"role": "assistant", "content": f"The answer is \\boxed{{{number}}}."}
        if split in ("test", "rl"):
            yield {"messages": [asked], "answer": str(number), "language": "en", "domain": "math"}
        else:
            thinking = {"reasoning_content": "\n".join(steps)} if split == "reasoning" else {}
            yield {"messages": [asked, {**reply, **thinking}], "mode": split, "language": "en", "domain": "math"}


def write_rows(folder: Path) -> None:
    """One file for each of `ROWS`, of different problems."""
    rng, seen = random.Random(0), set[str]()
    folder.mkdir(parents=True, exist_ok=True)
    for split in ROWS:
        text = "".join(json.dumps(row) + "\n" for row in rows(split, rng, seen))
        write_text_atomically(folder / f"{split}.jsonl", text)


def main() -> None:
    """Train, then profile the model as it is and as it was; finished stages are not run again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="SmolLM2-135M-Instruct")
    parser.add_argument("--out", type=Path, default=Path("runs/smollm2-modes"))
    parser.add_argument("overrides", nargs="*", help="for `sft`, such as trainer.learning_rate=1e-4")
    args = parser.parse_args()
    write_rows(args.out / "data")

    def posttrain(stage: str, recipe: str, *overrides: str) -> None:
        run_stage(stage, f"smollm2-135m/{recipe}", f"root={args.out}", *overrides)

    posttrain("sft", "sft", f"model.path={args.model}", *args.overrides)
    posttrain("eval", "profile", f"run={args.out}/profile-after", "label=after")
    posttrain("rl", "rl")
    after_rl = [f"model.path={args.out}/rl/model", f"run={args.out}/profile-rl", "label=after RL"]
    posttrain("eval", "profile", *after_rl, "thinking_budgets=[]")
    # It never thinks, so that all budgets would give the same.
    before = [f"model.path={args.model}", f"run={args.out}/profile-before", "label=before", "thinking_budgets=[]"]
    posttrain("eval", "profile", *before)


if __name__ == "__main__":
    main()
