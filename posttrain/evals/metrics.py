"""What is measured over a group of graded answers."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from posttrain.evals.intervals import ByQuestion, Interval, count_interval, share_interval
from posttrain.grading import Graded
from rewards.contract import Attempt

LANGUAGE_REWARD = "language"  # the reward of this name says whether an answer is in the question's language

Metrics = dict[str, Any]


class Answer(NamedTuple):
    """One graded attempt at the question of this number."""

    question: int
    attempt: Attempt
    graded: Graded


def measure_groups(answers: Sequence[Answer]) -> dict[str, Metrics]:
    """The metrics of all answers under "all", then those of the answers to questions of each language."""
    by_language: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        language = answer.attempt.row.get("language")
        if language is not None:
            by_language[str(language)].append(answer)
    return {"all": measure(answers)} | {language: measure(group) for language, group in by_language.items()}


def measure(answers: Sequence[Answer]) -> Metrics:
    """The metrics of one group, as they are written to `eval.json`.

    `n` counts answers, `unscorable` those of them that no reward calls right or wrong. Every other entry is a mean with
    its interval, or None where nothing could be measured: `accuracy` over the scorable answers, `language_consistency`
    over those whose language could be told, the rest over all. `answer_tokens` are all tokens outside the thinking, the
    closing tag and the end of the turn included.
    """
    return {
        "n": len(answers),
        "unscorable": sum(answer.graded.outcome is None for answer in answers),
        "accuracy": _share(answers, lambda answer: answer.graded.outcome),
        "thinking_tokens": _count(answers, lambda answer: answer.attempt.num_thinking_tokens),
        "answer_tokens": _count(answers, lambda answer: answer.attempt.num_tokens - answer.attempt.num_thinking_tokens),
        "mode_adherence": _share(answers, lambda answer: is_in_mode(answer.attempt)),
        "language_consistency": _share(answers, _is_in_language),
        "truncated": _share(answers, lambda answer: answer.attempt.is_truncated),
    }


def is_in_mode(attempt: Attempt) -> bool:
    """Whether an attempt keeps to its mode: no thinking in non-reasoning mode, a closed one that is not empty else.

    An answer is what follows the closing tag, so a thinking is closed where there is an answer.
    """
    has_thinking = bool((attempt.thinking or "").strip())
    if attempt.mode == "reasoning":
        return has_thinking and bool(attempt.answer.strip())
    return not has_thinking


def _is_in_language(answer: Answer) -> float | None:
    verdict = answer.graded.verdicts.get(LANGUAGE_REWARD)
    return None if verdict is None else verdict.score


def _share(answers: Iterable[Answer], value_of: Callable[[Answer], float | None]) -> dict[str, float] | None:
    return _interval(share_interval, answers, value_of)


def _count(answers: Iterable[Answer], value_of: Callable[[Answer], float | None]) -> dict[str, float] | None:
    return _interval(count_interval, answers, value_of)


def _interval(
    interval_of: Callable[[ByQuestion], Interval],
    answers: Iterable[Answer],
    value_of: Callable[[Answer], float | None],
) -> dict[str, float] | None:
    by_question: dict[int, list[float]] = defaultdict(list)
    for answer in answers:
        value = value_of(answer)
        if value is not None:
            by_question[answer.question].append(float(value))
    return interval_of(list(by_question.values()))._asdict() if by_question else None
