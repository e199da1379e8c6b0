"""What the gate asks: every task at every length and depth."""

from collections.abc import Sequence
from typing import Any

from posttrain.chat import encode_prompt
from posttrain.data.rows import Row
from posttrain.errors import UserError
from posttrain.evals.evaluate import ask, render_question
from posttrain.evals.suite import Question
from posttrain.haystack import make_rows
from posttrain.recipe import Decoding, GateSection, RewardSpec

REWARDS = [RewardSpec(use="posttrain.haystack:values_found")]  # as in the evaluation


def gate_decoding(gate: GateSection) -> Decoding:
    """How the gate samples."""
    return Decoding(name="gate", mode="non_reasoning", temperature=0.0, max_new_tokens=gate.max_new_tokens)


def gate_questions(tokenizer: Any, gate: GateSection, *, length: int, seed: int) -> list[Question]:
    """The questions of a stage of `length` tokens, those of one length after those of another.

    A cell's length is that of the whole sequence: prompt, template and `max_new_tokens` of answer.

    Raises:
        UserError: there is no such task, or no room for the question in a length.
    """
    questions: list[Question] = []
    overhead = _overhead(tokenizer, gate, length)
    for share in gate.lengths:
        cell_length = round(share * length)
        for row in _rows(tokenizer, gate, cell_length - overhead, gate.depths, gate.samples_per_cell, seed):
            cell = {"task": row["task"], "length": cell_length, "depth": row["depth"]}
            questions.append(Question(row["task"], len(questions), {**row, "benchmark": row["task"]}, cell))
    return questions


def longest_sequence(tokenizer: Any, gate: GateSection, questions: Sequence[Question]) -> int:
    """The tokens of the longest question with its answer."""
    return max(_prompt_length(tokenizer, gate, question.row) for question in questions) + gate.max_new_tokens


def _overhead(tokenizer: Any, gate: GateSection, length: int) -> int:
    """The tokens of a sequence beside those of its message: the template's and the answer's."""
    rows = _rows(tokenizer, gate, length, depths=[0.5], per_cell=1, seed=0)
    return max(_prompt_length(tokenizer, gate, row) for row in rows) - length + gate.max_new_tokens


def _rows(
    tokenizer: Any, gate: GateSection, length: int, depths: Sequence[float], per_cell: int, seed: int
) -> list[Row]:
    try:
        return make_rows(
            tokenizer,
            tasks=gate.tasks,
            lengths=[length],
            depths=depths,
            languages=gate.languages,
            per_cell=per_cell,
            seed=seed,
            text=gate.text,
            num_needles=gate.num_needles,
        )
    except (ValueError, UserError) as error:
        raise UserError(f"gate: {error}") from error


def _prompt_length(tokenizer: Any, gate: GateSection, row: Row) -> int:
    return len(encode_prompt(tokenizer, render_question(tokenizer, ask(row, gate_decoding(gate)))))
