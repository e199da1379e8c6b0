from collections.abc import Sequence
from typing import Any

import pytest

from posttrain.chat import encode_prompt, read_template
from posttrain.evals.evaluate import ask, evaluate
from posttrain.evals.metrics import measure_groups
from posttrain.evals.results import entry
from posttrain.evals.suite import Question
from posttrain.grading import GradingPool
from posttrain.inference import Completion
from posttrain.models.tokenizer import train_tokenizer
from posttrain.recipe import Decoding, GradingSection, RewardSpec

ROWS = [
    {
        "messages": [{"role": "user", "content": "3+4?"}, {"role": "assistant", "content": "It is nine."}],
        "mode": "reasoning",
        "answer": "7",
        "language": "en",
    },
    {"messages": [{"role": "user", "content": "4+4?"}], "mode": "reasoning", "answer": "8", "language": "ko"},
]
QUESTIONS = [Question("sums", number, row, {}) for number, row in enumerate(ROWS)]
REWARDS = [RewardSpec(use="rewards.math_answer:math_answer"), RewardSpec(use="rewards.language:language", weight=0.0)]

HERE = GradingSection(workers=0)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(["The answer is"], vocab_size=300, chat_template=read_template("exaone4"))


class Recital:
    """An engine that says the same texts to every prompt and remembers what it was asked."""

    def __init__(self, tokenizer: Any, *texts: str) -> None:
        end = [tokenizer.eos_token_id]
        self.completions = [Completion(encode_prompt(tokenizer, text) + end, is_truncated=False) for text in texts]
        self.asked: list[str] = []
        self._tokenizer = tokenizer

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], decoding: Decoding, *, seed: int, first_index: int = 0
    ) -> list[list[Completion]]:
        self.asked = [self._tokenizer.decode(prompt) for prompt in prompts_ids]
        return [list(self.completions) for _ in prompts_ids]

    def close(self) -> None:
        pass


def test_decodings_mode_wins_and_the_models_own_turn_is_not_shown(tokenizer: Any) -> None:
    engine = Recital(tokenizer, r"It is \boxed{7}.")
    decoding = Decoding(name="direct", mode="non_reasoning", temperature=0.0, max_new_tokens=20)
    records = evaluate(engine, tokenizer, QUESTIONS, decoding, GradingPool(REWARDS, HERE), seed=0)
    assert [text.count("nine") for text in engine.asked] == [0, 0]
    assert all(text.endswith("<think>\n\n</think>\n\n") for text in engine.asked)
    assert [record["mode"] for record in records] == ["non_reasoning", "non_reasoning"]
    groups = measure_groups(records)
    assert groups["all"]["accuracy"]["mean"] == 0.5
    assert groups["en"]["accuracy"]["mean"] == 1
    assert groups["ko"]["language_consistency"]["mean"] == 0


def test_decoding_without_a_mode_takes_each_rows_own() -> None:
    decoding = Decoding(temperature=0.0, max_new_tokens=20)
    assert ask(ROWS[0], decoding) == ROWS[0] | {"messages": ROWS[0]["messages"][:1]}


def test_every_sample_is_graded_and_recorded_and_samples_form_clusters(tokenizer: Any) -> None:
    texts = ("3+4=7</think>" + r"It is \boxed{7}.", "hm</think>" + r"It is \boxed{8}.")
    decoding = Decoding(name="two", mode="reasoning", temperature=1.0, max_new_tokens=20, samples=2)
    grader = GradingPool(REWARDS, HERE)
    records = evaluate(Recital(tokenizer, *texts), tokenizer, QUESTIONS, decoding, grader, seed=0, step=3)
    assert [record["outcome"] for record in records] == [True, False, False, True]
    assert [(record["question"], record["sample"]) for record in records] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    metrics = measure_groups(records)["all"]
    assert (metrics["n"], metrics["questions"]) == (4, 2)
    assert metrics["accuracy"]["mean"] == 0.5
    assert metrics["mode_adherence"]["mean"] == 1
    first = records[0]
    assert (first["thinking"], first["decoding"], first["step"], first["stage"]) == ("3+4=7", "two", 3, "eval")
    assert first["prompt"] == ROWS[0]["messages"][:1]
    assert first["verdicts"]["math_answer"]["extracted"] == "7"


def test_entry_says_how_was_sampled_and_how_fast(tokenizer: Any) -> None:
    engine = Recital(tokenizer, "7")
    decoding = Decoding(name="direct", mode="non_reasoning", temperature=0.5, top_p=0.9, top_k=4, max_new_tokens=20)
    records = evaluate(engine, tokenizer, QUESTIONS, decoding, GradingPool(REWARDS, HERE), seed=0)
    written = entry(decoding, records, seconds_alone=[0.2, 0.4])
    settings = {"name": "direct", "mode": "non_reasoning", "temperature": 0.5, "top_p": 0.9, "top_k": 4}
    assert (
        written.items() >= (settings | {"max_new_tokens": 20, "samples": 1, "tokens": 4}).items()
    )  # 7 and the end, twice
    assert written["seconds"] >= 0
    assert written["latency"]["mean"] == pytest.approx(0.3)
