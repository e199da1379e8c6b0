"""Write the demo's data sets as JSONL: what a user would bring along."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.chat import Mode
from posttrain.demo.task import LANGUAGES, Problem, Teacher, draw_problem, prompt_row, sft_row
from posttrain.runs import write_text_atomically

# Raised whenever a choice of settings has seen the test problems: others are drawn then.
TEST_DRAW = "second draw"
TEACHER = Teacher(weak_share=0.25, error_rate=0.55, stray_rate=0.25, rechecks=(0, 0, 1, 1, 1, 2, 2, 2, 3))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows of each file; those of the second SFT round are picked from the reasoning rows of the first."""

    sft_reasoning: int = 11000
    sft_non_reasoning: int = 16000
    rl: int = 4000
    pairs_stage1: int = 400
    pairs_stage2: int = 600
    validation: int = 400
    test: int = 600


def write_data(folder: Path, seed: int, sizes: Sizes | None = None) -> dict[str, Path]:
    """Write every data file of the demo into `folder`.

    Problems of the validation and test splits (by hash) are in no training file. Returns the paths by file stem.
    """
    sizes = sizes or Sizes()
    files = {
        "sft_reasoning": _sft_rows("train", "reasoning", sizes.sft_reasoning, seed),
        "sft_non_reasoning": _sft_rows("train", "non_reasoning", sizes.sft_non_reasoning, seed),
        "sft_round2": _second_round(_sft_rows("train", "reasoning", sizes.sft_reasoning, seed)),
        "rl": _prompt_rows("train", ["reasoning"], sizes.rl, seed),
        "pairs_stage1": _prompt_rows("train", ["reasoning"], sizes.pairs_stage1, seed),
        "pairs_stage2": _prompt_rows("train", ["reasoning", "non_reasoning"], sizes.pairs_stage2, seed),
        "validation": _prompt_rows("validation", ["reasoning"], sizes.validation, seed),
        "test": test_rows(sizes.test, seed),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, rows in files.items():
        paths[name] = folder / f"{name}.jsonl"
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        write_text_atomically(paths[name], "\n".join(lines) + "\n")
    return paths


def test_rows(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """The rows of `test.jsonl`: questions that no setting was chosen on, the languages in turn."""
    return _prompt_rows("test", ["reasoning"], count, seed, draw=TEST_DRAW)


def _problems(split: str, rng: random.Random, *, min_steps: int) -> Iterator[Problem]:
    while True:
        problem = draw_problem(rng, min_steps=min_steps, max_steps=6)
        if problem.split == split:
            yield problem


def _sft_rows(split: str, mode: Mode, count: int, seed: int) -> Iterator[dict[str, Any]]:
    rng = random.Random(f"{seed} sft {split} {mode}")
    # Direct answers can only be learnt for short chains: half of that data has one or two steps.
    long, short = _problems(split, rng, min_steps=3), _problems(split, rng, min_steps=1)
    for index in range(count):
        problem = next(long if mode == "reasoning" or rng.random() < 0.5 else short)
        yield sft_row(rng, problem, LANGUAGES[index % len(LANGUAGES)], mode, TEACHER)


def _second_round(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The first round's rows that end right, long and short chains told apart as if they were two domains."""
    for row in rows:
        if rf"\boxed{{{row['answer']}}}" in row["messages"][-1]["content"]:
            yield {**row, "domain": "long_chains" if row["steps"] >= 5 else "short_chains"}


def _prompt_rows(split: str, modes: list[Mode], count: int, seed: int, draw: str = "") -> Iterator[dict[str, Any]]:
    rng = random.Random(f"{seed} prompts {split} {modes}{draw}")
    problems = _problems(split, rng, min_steps=3)
    for index in range(count):
        language = LANGUAGES[index % len(LANGUAGES)]
        yield prompt_row(rng, next(problems), language, modes[index // len(LANGUAGES) % len(modes)])
