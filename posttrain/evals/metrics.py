"""What is measured over a group of answers, each given as its record in `samples.jsonl`.

The report's third experiment asks what each mode costs and gives: these are its numbers.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from posttrain.evals.intervals import ByQuestion, Interval, count_interval, share_interval
from posttrain.evals.repeated_samples import Vote, majority_at_n, numbers_of_tries, pass_at_k
from rewards.contract import Attempt

LANGUAGE_REWARD = "language"  # the reward of this name says whether an answer is in the question's language

Record = Mapping[str, Any]
Metrics = dict[str, Any]


def measure_groups(records: Sequence[Record]) -> dict[str, Metrics]:
    """The metrics of all answers as "all", of a language's questions as "en", of a domain's as "domain/math"."""
    groups = {"all": list(records), **dict(_by(records, "language"))}
    groups |= {f"domain/{domain}": group for domain, group in _by(records, "domain")}
    return {name: measure(group) for name, group in groups.items()}


def measure_benchmarks(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """By benchmark: its groups, and its cells where it has any, such as the lengths and depths of needles."""
    measured = {}
    for name, answers in _by(records, "benchmark"):
        cells = [{**dict(cell), **measure(group)} for cell, group in _by_cell(answers)]
        measured[name] = {"groups": measure_groups(answers), "cells": cells}
    return measured


def measure(records: Sequence[Record]) -> Metrics:
    """The metrics of one group, as they are written to `eval.json`.

    `n` counts answers, `questions` what they answer, `unscorable` the answers that no reward calls right or wrong.
    `pass_at` (by k) and `majority` are there where questions have several samples. Every other entry is a mean with its
    interval, or None where nothing could be measured: `accuracy` (with several samples average@n) over the scorable
    answers, `language_consistency` over those whose language could be told, the rest over all. `answer_tokens` are all
    tokens outside the thinking, the closing tag and the end of the turn included; `thinks`: has thinking that is not
    empty; `looping`: see `posttrain.evals.loops`; `budget_reached`: the thinking budget closed the thinking.
    """
    return {
        "n": len(records),
        "questions": len({_question(record) for record in records}),
        "unscorable": sum(record["outcome"] is None for record in records),
        "accuracy": _share(records, lambda record: record["outcome"]),
        "thinking_tokens": _count(records, lambda record: record["num_thinking_tokens"]),
        "answer_tokens": _count(records, lambda record: record["num_tokens"] - record["num_thinking_tokens"]),
        "mode_adherence": _share(records, lambda record: record["is_in_mode"]),
        "thinks": _share(records, lambda record: record["thinks"]),
        "language_consistency": _share(records, _is_in_language),
        "truncated": _share(records, lambda record: record["is_truncated"]),
        "looping": _share(records, lambda record: record["is_looping"]),
        "budget_reached": _share(records, lambda record: record["budget_reached"]),
        **_repeated(records),
    }


def thinks(attempt: Attempt) -> bool:
    """Whether an attempt has thinking that is not empty."""
    return bool((attempt.thinking or "").strip())


def is_in_mode(attempt: Attempt) -> bool:
    """Whether an attempt keeps to its mode: no thinking in non-reasoning mode, a closed one that is not empty else.

    An answer is what follows the closing tag, so a thinking is closed where there is an answer.
    """
    if attempt.mode == "reasoning":
        return thinks(attempt) and bool(attempt.answer.strip())
    return not thinks(attempt)


def outcomes_by_question(records: Iterable[Record]) -> dict[tuple[str, int], list[float]]:
    """Benchmark and number of each question that has scorable answers -> 1 for each right one, 0 for each other."""
    return _by_question(records, lambda record: record["outcome"])


def _repeated(records: Sequence[Record]) -> Metrics:
    """pass@k and majority@n, where a question has several scorable answers."""
    by_question: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        if record["outcome"] is not None:
            by_question[_question(record)].append(record)
    most = max(map(len, by_question.values()), default=0)
    if most < 2:
        return {}
    pass_at = {}
    for k in numbers_of_tries(most):
        tried = [answers for answers in by_question.values() if len(answers) >= k]
        rates = [pass_at_k(len(answers), sum(one["outcome"] for one in answers), k) for answers in tried]
        pass_at[str(k)] = share_interval([[rate] for rate in rates])._asdict()
    votes = [majority_at_n([_vote(one) for one in answers]) for answers in by_question.values()]
    known = [vote for vote in votes if vote is not None]
    majority = share_interval([[vote] for vote in known])._asdict() if len(known) == len(votes) else None
    return {"pass_at": pass_at, "majority": majority}


def _vote(record: Record) -> Vote:
    judged = [verdict for verdict in record["verdicts"].values() if verdict["outcome"] is not None]
    return Vote(record["outcome"], judged[0]["extracted"] if judged else None)


def _question(record: Record) -> tuple[str, int]:
    return record["benchmark"], record["question"]


def _is_in_language(record: Record) -> float | None:
    verdict = record["verdicts"].get(LANGUAGE_REWARD)
    return None if verdict is None else verdict["score"]


def _by(records: Sequence[Record], column: str) -> list[tuple[str, list[Record]]]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record[column] is not None:
            groups[str(record[column])].append(record)
    return list(groups.items())


def _by_cell(records: Sequence[Record]) -> list[tuple[tuple[tuple[str, Any], ...], list[Record]]]:
    cells: dict[tuple[tuple[str, Any], ...], list[Record]] = defaultdict(list)
    for record in records:
        if record["cell"]:
            cells[tuple(record["cell"].items())].append(record)
    return list(cells.items())


def _share(records: Iterable[Record], value_of: Callable[[Record], float | None]) -> dict[str, float] | None:
    return _interval(share_interval, records, value_of)


def _count(records: Iterable[Record], value_of: Callable[[Record], float | None]) -> dict[str, float] | None:
    return _interval(count_interval, records, value_of)


def _interval(
    interval_of: Callable[[ByQuestion], Interval],
    records: Iterable[Record],
    value_of: Callable[[Record], float | None],
) -> dict[str, float] | None:
    by_question = _by_question(records, value_of)
    return interval_of(list(by_question.values()))._asdict() if by_question else None


def _by_question(
    records: Iterable[Record], value_of: Callable[[Record], float | None]
) -> dict[tuple[str, int], list[float]]:
    by_question: dict[tuple[str, int], list[float]] = defaultdict(list)
    for record in records:
        value = value_of(record)
        if value is not None:
            by_question[_question(record)].append(float(value))
    return dict(by_question)
