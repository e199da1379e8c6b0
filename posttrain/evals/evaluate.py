"""Questions under one decoding: render, generate, grade; each answer becomes a line of `samples.jsonl`."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from posttrain.chat import encode_prompt, render_prompt
from posttrain.data.rows import Row, split_prompt
from posttrain.evals.loops import is_looping
from posttrain.evals.metrics import is_in_mode, thinks
from posttrain.evals.suite import Question
from posttrain.grading import Graded, GradingPool, read_attempt, sample_record
from posttrain.inference import Completion, Engine
from posttrain.recipe import Decoding
from rewards.contract import Attempt


class Answer(NamedTuple):
    """One sample, not graded yet; `closed_at` as in `Completion`."""

    question: Question
    sample: int
    attempt: Attempt
    closed_at: int | None
    seconds: float


def evaluate(
    engine: Engine,
    tokenizer: Any,
    questions: Sequence[Question],
    decoding: Decoding,
    grader: GradingPool,
    *,
    seed: int,
    step: int = 0,
    first_index: int = 0,
) -> list[dict[str, Any]]:
    """Answer questions under one decoding and grade the answers.

    Args:
        engine: generates.
        tokenizer: with the chat template of the model in `engine`.
        questions: a chunk of all.
        decoding: its `mode` wins over the rows' own.
        grader: the rewards.
        seed: same seed, same answers.
        step: for the records.
        first_index: where the chunk begins, so that its random streams are those of the whole.

    Returns:
        The records of `samples.jsonl`, question by question. `seconds` is the answer's share of the chunk's generation.

    Raises:
        UserError: as in `GradingPool.grade_all`.
    """
    asked = [ask(question.row, decoding) for question in questions]
    prompts_ids = [encode_prompt(tokenizer, render_question(tokenizer, row)) for row in asked]
    began = time.monotonic()
    completions = engine.generate(prompts_ids, decoding, seed=seed, first_index=first_index)
    seconds = (time.monotonic() - began) / sum(map(len, completions))
    answers = [
        Answer(question, sample, _read(tokenizer, row, completion), completion.closed_at, seconds)
        for question, row, some in zip(questions, asked, completions, strict=True)
        for sample, completion in enumerate(some)
    ]
    all_graded = grader.grade_all([answer.attempt for answer in answers])
    return [_record(answer, graded, decoding, step) for answer, graded in zip(answers, all_graded, strict=True)]


def time_alone(
    engine: Engine, tokenizer: Any, questions: Sequence[Question], decoding: Decoding, *, seed: int
) -> list[float]:
    """The seconds that each question takes when nothing else is asked for; one sample each."""
    seconds = []
    for index, question in enumerate(questions):
        prompt_ids = encode_prompt(tokenizer, render_question(tokenizer, ask(question.row, decoding)))
        began = time.monotonic()
        engine.generate([prompt_ids], replace(decoding, samples=1), seed=seed, first_index=index)
        seconds.append(time.monotonic() - began)
    return seconds


def ask(row: Row, decoding: Decoding) -> Row:
    """The row as it is asked: its messages up to the model's last turn, its mode that of the decoding."""
    return {**row, "messages": split_prompt(row), "mode": decoding.mode or row["mode"]}


def render_question(tokenizer: Any, asked: Row) -> str:
    """The text that the model continues."""
    return render_prompt(tokenizer, asked["messages"], asked["mode"], asked.get("tools"))


def _read(tokenizer: Any, row: Row, completion: Completion) -> Attempt:
    ids, is_truncated, closed_at = completion
    return read_attempt(tokenizer, row, ids, mode=row["mode"], is_truncated=is_truncated, closed_at=closed_at)


def _record(answer: Answer, graded: Graded, decoding: Decoding, step: int) -> dict[str, Any]:
    question, sample, attempt, closed_at, seconds = answer
    return sample_record(
        attempt,
        graded,
        stage="eval",
        step=step,
        decoding=decoding.name,
        benchmark=question.benchmark,
        question=question.number,
        fingerprint=question.fingerprint,
        cell=dict(question.cell),
        sample=sample,
        seconds=seconds,
        is_in_mode=is_in_mode(attempt),
        thinks=thinks(attempt),
        budget_reached=closed_at is not None,
        is_looping=is_looping(attempt.thinking or "") or is_looping(attempt.answer),
    )
