"""Stage 1 on a real chat model: shorter answers to arithmetic word problems, on a CPU.

    make bench-smollm ARGS="--model FOLDER"

FOLDER holds SmolLM2-135M-Instruct as plain weights. Additions are asked after three worked examples, one of them terse
and one wordy, because without them the model gets next to none right. Pairs are sampled and trained by the recipes in
`recipes/smollm2-135m`; problems of the evaluation are in no training row.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

from stages import run_stage

from posttrain.runs import write_text_atomically

NAMES = ("Anna", "Ben", "Carla", "David", "Ella", "Farid", "Grace", "Hugo")
THINGS = ("apples", "pencils", "marbles", "stickers", "books", "coins", "cards", "shells")
EXAMPLES = (
    (
        "Tom has 4 pens. Lena gives Tom 3 more pens. How many pens does Tom have now?",
        r"4 + 3 = 7. The answer is \boxed{7}.",
    ),
    (
        "Mia has 6 hats. Sam gives Mia 5 more hats. How many hats does Mia have now?",
        r"Mia starts with 6 hats. Sam gives Mia 5 more hats. 6 + 5 = 11. The answer is \boxed{11}.",
    ),
    (
        "Paul has 2 cups. Nina gives Paul 8 more cups. How many cups does Paul have now?",
        "Let us see. Paul starts with 2 cups. Then Nina gives Paul 8 more cups. So we add the two numbers: 2 + 8 = 10. "
        r"Paul has 10 cups now. The answer is \boxed{10}.",
    ),
)
ROWS = {"train": 160, "test": 400}


def problem(rng: random.Random) -> tuple[str, int]:
    """A question and its answer."""
    taker, giver = rng.sample(NAMES, 2)
    thing, first, second = rng.choice(THINGS), rng.randint(2, 9), rng.randint(2, 9)
    question = f"{taker} has {first} {thing}. {giver} gives {taker} {second} more {thing}."
    return f"{question} How many {thing} does {taker} have now?", first + second


def write_rows(folder: Path) -> None:
    """`train.jsonl` and `test.jsonl`, of different problems."""
    rng, seen = random.Random(0), set()
    examples = [turn for question, answer in EXAMPLES for turn in _turns(question, answer)]
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in ROWS.items():
        rows: list[dict[str, Any]] = []
        while len(rows) < count:
            question, answer = problem(rng)
            if question not in seen:
                seen.add(question)
                messages = [*examples, {"role": "user", "content": question}]
                rows.append({"messages": messages, "mode": "non_reasoning", "answer": str(answer), "language": "en"})
        write_text_atomically(folder / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def main() -> None:
    """Evaluate, sample pairs, train on them, evaluate again; finished stages are not run again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="SmolLM2-135M-Instruct")
    parser.add_argument("--out", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("overrides", nargs="*", help="for `pref`, such as trainer.learning_rate=1e-5")
    args = parser.parse_args()
    write_rows(args.out / "data")

    def posttrain(stage: str, recipe: str, *overrides: str) -> None:
        run_stage(stage, f"smollm2-135m/{recipe}", f"root={args.out}", *overrides)

    posttrain("eval", "eval", f"model.path={args.model}", f"run={args.out}/eval-before", "label=before")
    posttrain("pairs", "pairs", f"model.path={args.model}")
    posttrain("pref", "pref", f"model.path={args.model}", *args.overrides)
    posttrain("eval", "eval", f"model.path={args.out}/pref/model", f"run={args.out}/eval-after", "label=after")


if __name__ == "__main__":
    main()
