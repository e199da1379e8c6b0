"""The data of these recipes: sums in words, in English and Spanish, with the habits that the stages are to mend.

    python recipes/smollm2-135m/prepare.py runs/smollm2/data

The thinking writes one sum a line, now and then checks the last one once more (stage 1 of preference learning can cut
that), and a quarter of the responses are in the other language (stage 2 can mend that). Sums of five changes are a
domain of their own, for the second round of SFT. No problem is in two files.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from posttrain.runs import write_text_atomically

LANGUAGES = ("en", "es")
NAMES = ("Anna", "David", "Elena", "Farid", "Gabriel", "Hugo", "Irene", "Laura")
THINGS = {
    "en": ("apples", "shells", "coins", "cards", "stickers", "marbles"),
    "es": ("manzanas", "conchas", "monedas", "cartas", "pegatinas", "canicas"),
}
CHANGES = {"en": ("gets", "gives away"), "es": ("recibe", "regala")}
QUESTION = {
    "en": "{name} has {begins} {thing}, then {told}. How many {thing} does {name} have now?",
    "es": "{name} tiene {begins} {thing}, luego {told}. ¿Cuántas {thing} tiene {name} ahora?",
}
AND = {"en": "and", "es": "y"}
BEGINS = {"en": "We begin with {begins}.", "es": "Empezamos con {begins}."}
CHECK = {"en": "Let me check that: {step}. Yes.", "es": "Lo compruebo: {step}. Sí."}
ANSWER = {"en": "The answer is \\boxed{{{number}}}.", "es": "La respuesta es \\boxed{{{number}}}."}
DIRECT = {
    "en": "Now {name} has \\boxed{{{number}}} {thing}.",
    "es": "Ahora {name} tiene \\boxed{{{number}}} {thing}.",
}
STRAY_RATE = 0.25
CHECKS = (0, 0, 1, 2)  # one of these is drawn
ROWS = {"reasoning": 320, "non_reasoning": 480, "rl": 160, "pairs_stage1": 120, "pairs_stage2": 120, "test": 200}

Row = dict[str, Any]


def rows(split: str, rng: random.Random, seen: set[str]) -> Iterator[Row]:
    """As many rows as `ROWS` says, the languages in turn: the first two files' with a response, the others' without."""
    for index in range(ROWS[split]):
        while (problem := Problem(rng)).key in seen:
            pass
        seen.add(problem.key)
        asked = LANGUAGES[index % len(LANGUAGES)]
        row: Row = {
            "messages": [{"role": "user", "content": problem.question(asked)}],
            "answer": str(problem.numbers[-1]),
            "language": asked,
            "domain": "long_sums" if len(problem.steps) == 5 else "short_sums",
        }
        if split == "pairs_stage2":
            row["mode"] = ("reasoning", "non_reasoning")[index // len(LANGUAGES) % 2]
        elif split in ("reasoning", "non_reasoning"):
            [other] = set(LANGUAGES) - {asked}
            spoken = other if rng.random() < STRAY_RATE else asked
            row["messages"].append(problem.response(rng, spoken, split))
            row["mode"] = split
        else:
            row["mode"] = "reasoning"
        yield row


class Problem:
    """Someone has some things, then gets and gives away some, three to five times."""

    def __init__(self, rng: random.Random) -> None:
        self.name, self.thing = rng.choice(NAMES), rng.randrange(len(THINGS["en"]))
        self.numbers = [rng.randint(2, 9)]
        self.changes: list[tuple[int, int]] = []  # 0 gets, 1 gives away; how many
        for _ in range(rng.randint(3, 5)):
            now, change = self.numbers[-1], rng.randint(2, 9)
            gives = now > change and rng.random() < 0.5
            self.changes.append((int(gives), change))
            self.numbers.append(now - change if gives else now + change)
        self.key = f"{self.name} {self.thing} {self.numbers}"

    @property
    def steps(self) -> list[str]:
        """One sum for each change."""
        return [
            f"{before} {'+-'[gives]} {change} = {after}"
            for before, (gives, change), after in zip(self.numbers, self.changes, self.numbers[1:], strict=False)
        ]

    def question(self, language: str) -> str:
        """The problem in words."""
        told = [f"{CHANGES[language][gives]} {change}" for gives, change in self.changes]
        text = f"{', '.join(told[:-1])} {AND[language]} {told[-1]}"
        return QUESTION[language].format(
            name=self.name, begins=self.numbers[0], thing=THINGS[language][self.thing], told=text
        )

    def response(self, rng: random.Random, language: str, mode: str) -> Row:
        """The assistant's turn."""
        if mode == "non_reasoning":
            thing = THINGS[language][self.thing]
            text = DIRECT[language].format(name=self.name, number=self.numbers[-1], thing=thing)
            return {"role": "assistant", "content": text}
        check = CHECK[language].format(step=self.steps[-1])
        thinking = [BEGINS[language].format(begins=self.numbers[0]), *self.steps, *[check] * rng.choice(CHECKS)]
        return {
            "role": "assistant",
            "reasoning_content": "\n".join(thinking),
            "content": ANSWER[language].format(number=self.numbers[-1]),
        }


def main() -> None:
    """Write one file for each of `ROWS`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    rng, seen = random.Random(0), set[str]()
    for split in ROWS:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows(split, rng, seen)]
        write_text_atomically(folder / f"{split}.jsonl", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
