"""One decoding: render, generate, grade, measure."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.chat import encode_prompt, render_prompt
from posttrain.data.rows import Row, split_prompt
from posttrain.evals.metrics import Answer, Metrics, measure_groups
from posttrain.grading import GradingPool, read_attempt, sample_record
from posttrain.inference import Completion, Engine
from posttrain.recipe import Decoding
from rewards.contract import Attempt


@dataclass(frozen=True, slots=True)
class EvalResult:
    """What one decoding gave.

    Attributes:
        decoding: its name, mode and sampling settings.
        groups: metrics by group, "all" first.
        records: every answer as a line of `samples.jsonl`, question by question.
        seconds: the time of generation alone.
        num_tokens: tokens that were generated.
    """

    decoding: Decoding
    groups: Mapping[str, Metrics]
    records: Sequence[dict[str, Any]]
    seconds: float
    num_tokens: int

    def entry(self) -> dict[str, Any]:
        """The decoding's entry in `eval.json`."""
        return {
            "name": self.decoding.name,
            "mode": self.decoding.mode,
            "temperature": self.decoding.temperature,
            "top_p": self.decoding.top_p,
            "top_k": self.decoding.top_k,
            "max_new_tokens": self.decoding.max_new_tokens,
            "thinking_budget": self.decoding.thinking_budget,
            "samples": self.decoding.samples,
            "seconds": round(self.seconds, 3),
            "tokens": self.num_tokens,
            "tokens_per_second": round(self.num_tokens / self.seconds, 1) if self.seconds else None,
            "groups": self.groups,
        }


def evaluate(
    engine: Engine,
    tokenizer: Any,
    rows: Sequence[Row],
    decoding: Decoding,
    grader: GradingPool,
    *,
    seed: int,
    step: int = 0,
) -> EvalResult:
    """Answer every row under one decoding and grade the answers.

    Args:
        engine: generates.
        tokenizer: with the chat template of the model in `engine`.
        rows: as `posttrain.data.rows` reads them; a last assistant turn is not shown to the model.
        decoding: its `mode` wins over the rows' own.
        grader: the recipe's rewards.
        seed: same seed, same answers.
        step: for the records.

    Raises:
        UserError: as in `GradingPool.grade_all`.
    """
    questions = [ask(row, decoding) for row in rows]
    prompts_ids = [encode_prompt(tokenizer, render_question(tokenizer, question)) for question in questions]
    began = time.monotonic()
    completions = engine.generate(prompts_ids, decoding, seed=seed)
    seconds = time.monotonic() - began
    asked = [
        (number, _read(tokenizer, question, completion))
        for number, question in enumerate(questions)
        for completion in completions[number]
    ]
    all_graded = grader.grade_all([attempt for _, attempt in asked])
    answers = [Answer(number, attempt, graded) for (number, attempt), graded in zip(asked, all_graded, strict=True)]
    return EvalResult(
        decoding=decoding,
        groups=measure_groups(answers),
        records=[
            sample_record(answer.attempt, answer.graded, stage="eval", step=step, decoding=decoding.name)
            for answer in answers
        ],
        seconds=seconds,
        num_tokens=sum(answer.attempt.num_tokens for answer in answers),
    )


def _read(tokenizer: Any, question: Row, completion: Completion) -> Attempt:
    ids, is_truncated, closed_at = completion
    mode = question["mode"]
    return read_attempt(tokenizer, question, ids, mode=mode, is_truncated=is_truncated, closed_at=closed_at)


def ask(row: Row, decoding: Decoding) -> Row:
    """The row as a question: its messages up to the model's last turn, its mode that of the decoding."""
    return {**row, "messages": split_prompt(row), "mode": decoding.mode or row["mode"]}


def render_question(tokenizer: Any, question: Row) -> str:
    """The text that the model continues."""
    return render_prompt(tokenizer, question["messages"], question["mode"], question.get("tools"))
