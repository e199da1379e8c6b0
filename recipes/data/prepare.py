"""Prompts for RL and rows in Korean and Spanish, from public data sets whose own shape is not that of our rows.

    python recipes/data/prepare.py [--out data]

writes rl_math, rl_code, rl_science, rl_instructions and sft_multilingual.jsonl. Every data set is pinned to a commit.
Licenses as the data sets' cards say: DAPO-Math-17k and Aya Apache-2.0, MBPP CC-BY-4.0, ARC CC-BY-SA-4.0, Tulu 3 ODC-BY.
"""

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

MATH = ("BytedTsinghua-SIA/DAPO-Math-17k", "65877096c24ffa7abc4e4fa5edb95cf3413a5674", None, "train")
CODE = ("google-research-datasets/mbpp", "4bb6404fdc6cacfda99d4ac4205087b89d32030c", "full", "train")
SCIENCE = ("allenai/ai2_arc", "210d026faf9955653af8916fad021475a3f00453", "ARC-Challenge", "train")
QUESTIONS = ("allenai/tulu-3-sft-mixture", "b14afda60f1bbebe55d5d2fa1e4df5042f97f8be", None, "train[:8000]")
MULTILINGUAL = ("CohereLabs/aya_dataset", "f9ea04583f02a8f86404ff6c58bf75fe637df8a2", None, "train")

ASKS_FOR_ANSWER = r"^Solve the following math problem.*?\n\n|\n\nRemember to put your answer.*$"
BOXED = "Put the final answer in \\boxed{}."
LANGUAGES = {"kor": "ko", "spa": "es", "eng": "en"}
LONGEST_QUESTION = 600  # characters
# Rules as IFEval names them, in words of our own; not one of its prompts is used.
RULES: list[tuple[str, Row, str]] = [
    ("punctuation:no_comma", {}, "Do not use a comma anywhere."),
    ("length_constraints:number_words", {"num_words": 150, "relation": "at least"}, "Write at least 150 words."),
    ("length_constraints:number_words", {"num_words": 60, "relation": "less than"}, "Write fewer than 60 words."),
    ("change_case:english_lowercase", {}, "Write in English and in lowercase letters only."),
    ("detectable_format:title", {}, "Give the answer a title in double angular brackets, such as <<a title>>."),
    ("detectable_format:number_bullet_lists", {"num_bullets": 3}, "Use exactly 3 bullet points, each begun by '* '."),
    ("startend:quotation", {}, "Wrap the whole answer in double quotation marks."),
]


def math_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """The data set asks for `Answer: ...` on the last line, and has each problem about a hundred times."""
    seen: set[str] = set()
    for row in rows:
        text = row["prompt"][0]["content"]
        problem = re.sub(ASKS_FOR_ANSWER, "", text, flags=re.DOTALL)
        if problem not in seen:
            seen.add(problem)
            yield _row("math", f"{problem}\n\n{BOXED}", answer=str(row["reward_model"]["ground_truth"]))


def code_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """The tests are shown, since nothing else names the function; the reward runs the same ones."""
    for row in rows:
        question = "\n".join([row["text"], "", "Write Python code that passes these tests:", "", *row["test_list"]])
        tests = {"check": row["test_list"], "setup": row["test_setup_code"]}
        yield _row("code", question, tests=tests, solution=row["code"])


def science_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """Multiple choice; some rows letter their options with numbers."""
    for row in rows:
        options, labels = list(row["choices"]["text"]), list(row["choices"]["label"])
        letters = "ABCDEFGH"[: len(options)]
        asked = [f"{letter}. {option}" for letter, option in zip(letters, options, strict=True)]
        question = "\n".join([row["question"], "", *asked, "", "Put the letter of the right option in \\boxed{}."])
        yield _row("science", question, options=options, answer=letters[labels.index(row["answerKey"])])


def instruction_rows(rows: Iterable[Row], *, seed: int = 0) -> Iterator[Row]:
    """A short first question of a conversation, and one or two rules that its answer has to keep."""
    draw = random.Random(seed)
    for row in rows:
        question = row["messages"][0]["content"]
        if row["messages"][0]["role"] != "user" or not 20 <= len(question) <= LONGEST_QUESTION:
            continue
        ids, kwargs, words = zip(*draw.sample(RULES, draw.choice((1, 2))), strict=True)
        if len(set(ids)) == len(ids):  # two of one kind may contradict each other
            asked = "\n\n".join([question, *words])
            yield _row("instruction_following", asked, instruction_id_list=list(ids), kwargs=list(kwargs))


def multilingual_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """Questions and answers that people wrote, in the three languages of EXAONE 4.0."""
    for row in rows:
        if language := LANGUAGES.get(row["language_code"]):
            question = {"role": "user", "content": row["inputs"]}
            answer = {"role": "assistant", "content": row["targets"]}
            yield {"messages": [question, answer], "domain": "multilingual", "language": language}


WRITES = {
    "rl_math": (MATH, math_rows),
    "rl_code": (CODE, code_rows),
    "rl_science": (SCIENCE, science_rows),
    "rl_instructions": (QUESTIONS, instruction_rows),
    "sft_multilingual": (MULTILINGUAL, multilingual_rows),
}


def main() -> None:
    """Download, convert, write."""
    from datasets import load_dataset

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="DIR", help="(default: data)")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, ((path, revision, config, split), convert) in WRITES.items():
        rows = convert(load_dataset(path, config, revision=revision, split=split))
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(domain: str, question: str, **columns: Any) -> Row:
    return {"messages": [{"role": "user", "content": question}], "mode": "reasoning", "domain": domain, **columns}


if __name__ == "__main__":
    main()
