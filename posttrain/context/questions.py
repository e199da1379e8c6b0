"""What the gate asks: every task at every length and depth."""

from collections.abc import Sequence
from typing import Any

from posttrain.chat import encode_prompt
from posttrain.context import haystacks
from posttrain.evals.evaluate import ask, render_question
from posttrain.evals.suite import Question
from posttrain.recipe import Decoding, GateSection

SEED = 2**31  # of the questions, plus the recipe's: no document of the training has it


def gate_decoding(gate: GateSection) -> Decoding:
    """How the gate samples."""
    return Decoding(name="gate", mode="non_reasoning", temperature=0.0, max_new_tokens=gate.max_new_tokens)


def gate_questions(tokenizer: Any, gate: GateSection, *, length: int, seed: int) -> list[Question]:
    """The questions of a stage of `length` tokens, cell by cell.

    A cell's length is that of the whole sequence: prompt, template and `max_new_tokens` of answer.

    Raises:
        UserError: as in `haystacks.make_rows`.
    """
    decoding, questions = gate_decoding(gate), list[Question]()
    for share in gate.lengths:
        cell_length = round(share * length)
        room = cell_length - gate.max_new_tokens - _overhead(tokenizer, gate, decoding, cell_length)
        rows = haystacks.make_rows(
            tokenizer,
            tasks=gate.tasks,
            lengths=[room],
            depths=gate.depths,
            languages=gate.languages,
            per_cell=gate.samples_per_cell,
            seed=SEED + seed,
        )
        for row in rows:
            cell = {"task": row["task"], "length": cell_length, "depth": row["depth"]}
            questions.append(Question(row["task"], len(questions), {**row, "benchmark": row["task"]}, cell))
    return questions


def prompt_lengths(tokenizer: Any, questions: Sequence[Question], decoding: Decoding) -> list[int]:
    """The tokens of each question, as the model reads it."""
    asked = (ask(question.row, decoding) for question in questions)
    return [len(encode_prompt(tokenizer, render_question(tokenizer, row))) for row in asked]


def _overhead(tokenizer: Any, gate: GateSection, decoding: Decoding, length: int) -> int:
    """The tokens that the template adds to a message."""
    rows = haystacks.make_rows(
        tokenizer,
        tasks=gate.tasks,
        lengths=[length],
        depths=[0.5],
        languages=gate.languages,
        per_cell=1,
        seed=0,
    )
    questions = [Question(row["task"], 0, row, {}) for row in rows]
    return max(prompt_lengths(tokenizer, questions, decoding)) - length
