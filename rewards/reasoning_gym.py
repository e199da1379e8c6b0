r"""Any task of the package `reasoning-gym`, by name: its problems as rows, and its own verifier as the reward.

Rows come from the package's generators and carry what the verifier needs:

    python -m rewards.reasoning_gym leg_counting --size 500 --seed 0 max_animals=5 > rows.jsonl

Each has `messages`, `answer` (the package's own answer; null where it only knows how to check one), `source_dataset`,
and, as JSON so that no table changes them, `metadata` and `config`. Rows of the package's own data sets (the same
`answer` and `metadata`, with `source_dataset` in the latter) are graded too.

What the package's verifiers do and this reward does not pass on, found by running all 105 tasks of version 0.1.25:

- partial credit for text that merely contains the answer, or for any text at all ("banana" earns 0.25 in
  `propositional_logic`): only full marks count, unless `partial_credit` is set;
- `eval` of the model's answer, also inside `sympy.parse_expr`: where a task does that, an answer that is neither a
  literal nor a formula of numbers, variables, usual functions and small powers is wrong and not evaluated;
- an exception about an answer that they cannot read: that is a wrong answer, unless the right one raises as well;
- full marks for wrong answers: the two tasks that give them are refused (`_UNUSABLE`).
"""

import argparse
import contextlib
import difflib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from rewards._boxed import last_box
from rewards._printable import printable
from rewards._python_literals import is_plain_formula, is_plain_literal
from rewards.contract import Attempt, Case, Reward, Verdict, make_attempt

_MAX_CHARACTERS = 10_000  # boards and long lists are far below
_INSTRUCTION = "Write the final answer between <answer> and </answer>."

_UNUSABLE = {
    "composite": "is a mixture; write the rows of its tasks and mix those",
    "game_of_life_halting": "gives full marks to any answer",
    "puzzle24": "gives full marks for 24 from other numbers than those asked for",
}
_EVALUATED: dict[str, Callable[[str], bool]] = {
    "binary_matrix": is_plain_literal,
    "n_queens": is_plain_literal,
    "spiral_matrix": is_plain_literal,
    "string_insertion": is_plain_literal,
    "countdown": is_plain_formula,
    "intermediate_integration": is_plain_formula,
    "polynomial_multiplication": is_plain_formula,
    "simple_integration": is_plain_formula,
}
_BOARDS = ("arc_agi", "rearc")  # compared as tuples, which JSON does not have


SEES = ("answer", "is_truncated", "row")


@dataclass(frozen=True)
class ReasoningGym:
    """Full marks of the task's own verifier: score 1 with the outcome right, else 0 with the outcome wrong.

    The answer is what stands between the last `<answer>` and `</answer>`, or else in the last balanced box.
    Score None when the row has no `source_dataset` or `metadata`, or when its task is one that cannot be trusted.

    Attributes:
        partial_credit: Pass the verifier's score on, from 0 to 1, also below full marks; the outcome stays the same.

    Raises:
        ValueError: The installed package has no task of that name.
        ModuleNotFoundError: The package is not installed.
    """

    partial_credit: bool = False

    def describe(self) -> Mapping[str, str]:
        """The version of the package, whose verifiers differ.

        Raises:
            ModuleNotFoundError: It is not installed.
        """
        _require_package()
        return {"reasoning-gym": version("reasoning-gym")}

    def __call__(self, attempt: Attempt) -> Verdict:
        """Ask the verifier of the row's task."""
        metadata, config = _mapping(attempt.row.get("metadata")), attempt.row.get("config") or "{}"
        task = attempt.row.get("source_dataset") or (metadata or {}).get("source_dataset")
        if not isinstance(task, str) or metadata is None:
            return Verdict(
                None, reason="row['source_dataset'] and row['metadata'] are needed, see rewards.reasoning_gym"
            )
        if task in _UNUSABLE:
            return Verdict(None, reason=f"{task} {_UNUSABLE[task]}")
        answer = _extract(attempt.answer)
        if answer is None:
            return _wrong("truncated" if attempt.is_truncated else "neither <answer>...</answer> nor a box")
        if not answer or len(answer) > _MAX_CHARACTERS:
            return _wrong("empty" if not answer else f"longer than {_MAX_CHARACTERS} characters")
        extracted = printable(answer)
        is_plain = _EVALUATED.get(task)
        if is_plain is not None and not is_plain(answer):
            return _wrong("not plain enough to be evaluated", extracted)
        score_answer = _verifier(task, config if isinstance(config, str) else json.dumps(config))
        if task in _BOARDS:
            metadata["output"] = tuple(map(tuple, metadata["output"]))
        entry = {"answer": attempt.row.get("answer"), "metadata": metadata}
        score, reason = _ask(score_answer, answer, entry)
        if score >= 1:
            return Verdict(1.0, outcome=True, extracted=extracted)
        reason = reason or f"the verifier of {task} gives {score:.3g}"
        return _wrong(reason, extracted, score if self.partial_credit else 0.0)


def gold_answer(row: Mapping[str, Any]) -> str | None:
    """The package's own answer between tags; None where it only knows how to check one."""
    gold = row.get("answer")
    return f"<answer>{gold}</answer>" if isinstance(gold, str) else None


def _wrong(reason: str, extracted: str | None = None, score: float = 0.0) -> Verdict:
    return Verdict(score, outcome=False, extracted=extracted, reason=reason)


def _mapping(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(value)
    return dict(value) if isinstance(value, Mapping) else None


def _extract(text: str) -> str | None:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    if start >= 0:
        return text[start + len("<answer>") : end].strip()
    box = last_box(text)
    return None if box is None else box.strip()


def _ask(score_answer: Any, answer: str, entry: dict[str, Any]) -> tuple[float, str]:
    """The verifier's score; 0 and a reason where it raises about this answer and not about the right one."""
    with contextlib.redirect_stdout(io.StringIO()):  # some of them print
        try:
            return float(score_answer(answer, entry)), ""
        except Exception as error:  # noqa: BLE001 whatever a verifier raises, the next line tells whose fault it is
            score_answer(entry["answer"] or "", entry)
            return 0.0, f"not readable ({type(error).__name__}: {error})"[:300]


@lru_cache(maxsize=256)
def _verifier(task: str, config: str) -> Any:
    return _dataset(task, json.loads(config)).score_answer


def _require_package() -> None:
    for name in ("reasoning_gym", "pycosat"):
        if find_spec(name) is None:
            raise ModuleNotFoundError(
                f"this reward needs reasoning-gym, and there is no module {name!r}: pip install "
                "'posttrain[reasoning-gym]' (with a C compiler, for pycosat)",
                name=name,
            )


def _dataset(task: str, config: Mapping[str, Any]) -> Any:
    _require_package()
    from reasoning_gym.factory import DATASETS, create_dataset

    if task not in DATASETS:
        near = "".join(f"; did you mean {name!r}?" for name in difflib.get_close_matches(task, DATASETS, n=1))
        raise ValueError(f"reasoning-gym has no task {task!r}{near}")
    return create_dataset(task, **config)


def make_rows(task: str, *, size: int, seed: int, **config: Any) -> Iterator[dict[str, Any]]:
    """Rows of one task, in the format that the recipes read.

    Args:
        task: The package's name of the task, such as "leg_counting".
        size: How many rows.
        seed: The package's seed; the same one gives the same rows.
        config: Settings of the task, as the package names them.

    Raises:
        ValueError: The task is unknown or cannot be trusted, refuses a setting, or does not accept its own answer.
        ModuleNotFoundError: The package is not installed.
    """
    if task in _UNUSABLE:
        raise ValueError(f"the task {task!r} cannot be used: it {_UNUSABLE[task]}")
    try:
        dataset = _dataset(task, {**config, "size": size, "seed": seed})
    except (TypeError, AssertionError) as error:
        raise ValueError(f"the task {task!r} refuses its settings: {error}") from error
    for entry in dataset:
        row = {
            "messages": [{"role": "user", "content": f"{entry['question'].rstrip()}\n\n{_INSTRUCTION}"}],
            "answer": entry["answer"],
            "source_dataset": task,
            "metadata": json.dumps(entry["metadata"]),
            "config": json.dumps(config),
            "domain": "reasoning_gym",
        }
        if row["answer"] is not None and not _accepts_its_own_answer(row):
            raise ValueError(
                f"the task {task!r} does not accept its own answer {row['answer'][:80]!r} once the row is written as "
                "JSON; it cannot be used from a file"
            )
        yield row


def _accepts_its_own_answer(row: Mapping[str, Any]) -> bool:
    return ReasoningGym()(make_attempt(f"<answer>{row['answer']}</answer>", row)).score == 1.0


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m rewards.reasoning_gym", description="Write rows of one task as JSONL."
    )
    parser.add_argument("task", help="the package's name of the task, such as leg_counting")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the task; values as JSON or text")
    parser.add_argument("--size", type=int, required=True, help="how many rows")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_intermixed_args()
    config = {key: _value(text) for key, _, text in (item.partition("=") for item in arguments.settings)}
    try:
        for row in make_rows(arguments.task, size=arguments.size, seed=arguments.seed, **config):
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    except (ValueError, ModuleNotFoundError) as error:
        parser.error(str(error))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


EXAMPLE: Reward = ReasoningGym()


def _case(task: str, said: str, score: float | None, answer: str | None, **metadata: Any) -> Case:
    row = {"source_dataset": task, "answer": answer, "metadata": json.dumps(metadata)}
    return said, row, score


_SUM = {"numbers": [1, 2, 3], "target": 6}
CASES: list[Case] = [
    _case("leg_counting", "<answer>14</answer>", 1.0, "14"),
    _case("leg_counting", r"So \boxed{14}.", 1.0, "14"),
    _case("leg_counting", r"First <answer>12</answer>, no: <answer> 14 </answer>", 1.0, "14"),
    _case("leg_counting", r"\boxed{14} <answer>12</answer>", 0.0, "14"),
    _case("leg_counting", "14", 0.0, "14"),
    _case("leg_counting", "<answer>12 or 14</answer>", 0.0, "14"),
    _case("leg_counting", "<answer></answer>", 0.0, "14"),
    _case("leg_counting", "<answer>14", 0.0, "14"),
    ("<answer>14</answer>", {"answer": "14", "metadata": {"source_dataset": "leg_counting"}}, 1.0),
    _case("countdown", "<answer>(1 + 2) + 3</answer>", 1.0, "1+2+3", **_SUM),
    _case("countdown", "<answer>3*2</answer>", 0.0, "1+2+3", **_SUM),
    _case("countdown", "<answer>9**9**9</answer>", 0.0, "1+2+3", **_SUM),
    _case("countdown", "<answer>__import__('os').getpid() + 1</answer>", 0.0, "1+2+3", **_SUM),
    _case("prime_factorization", "<answer>2 × 7</answer>", 1.0, "2 × 7", number=14, factors=[2, 7]),
    _case("prime_factorization", "<answer>two and seven</answer>", 0.0, "2 × 7", number=14, factors=[2, 7]),
    _case("game_of_life_halting", "<answer>True</answer>", None, "True"),
    ("<answer>14</answer>", {"answer": "14"}, None),
    ("<answer>14</answer>", {"source_dataset": "leg_counting", "metadata": "{"}, None),
]

if __name__ == "__main__":
    _main()
