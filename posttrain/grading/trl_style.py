"""Rewards written for TRL, `f(prompts, completions, **columns) -> list[float | None]`, as rewards of ours."""

import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rewards.contract import Attempt, Verdict

# What TRL 1.16 hands to rewards beside prompts, completions and the columns of the row. Most of it lives in a trainer;
# rewards are run in processes of their own, and in evaluations too.
ONLY_IN_TRL = ("completion_ids", "trainer_state", "log_extra", "log_metric", "environments")
_NO_COLUMNS = ("prompt", "completion", "completion_ids")  # TRL leaves these out as well
_POSITIONAL_OR_KEYWORD, _KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True, slots=True)
class UnboundedVerdict(Verdict):
    """A verdict whose score may be any finite number, as TRL allows."""

    def __post_init__(self) -> None:
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"a TRL-style reward returned {self.score}; a score is a finite number or None")


@dataclass(frozen=True, slots=True)
class TrlReward:
    """Calls a TRL reward, async or not, with a batch of one. It says nothing about correctness: the outcome is None.

    Raises:
        ValueError: the function cannot do without something that only TRL's trainer has.
    """

    function: Callable[..., Sequence[float | None] | Awaitable[Sequence[float | None]]]

    def __post_init__(self) -> None:
        parameters = inspect.signature(self.function).parameters.values()
        needed = [
            parameter.name
            for parameter in parameters
            if parameter.name in ONLY_IN_TRL
            and parameter.default is parameter.empty
            and parameter.kind in (_POSITIONAL_OR_KEYWORD, _KEYWORD)
        ]
        if needed:
            raise ValueError(
                f"a TRL-style reward that needs {', '.join(needed)}, which only TRL's trainer has; need a default "
                "there, or a reward of our own style (its Attempt has num_tokens and num_thinking_tokens)"
            )

    def __call__(self, attempt: Attempt) -> Verdict | Awaitable[Verdict]:
        """Grade one attempt; the completion is the visible answer as an assistant message."""
        columns = {key: [value] for key, value in attempt.row.items() if key not in _NO_COLUMNS}
        completion = [{"role": "assistant", "content": attempt.answer}]
        scores = self.function(prompts=[attempt.prompt], completions=[completion], **columns)
        return _later(scores) if isinstance(scores, Awaitable) else _verdict(scores)


async def _later(scores: Awaitable[Sequence[float | None]]) -> Verdict:
    return _verdict(await scores)


def _verdict(scores: Sequence[float | None]) -> Verdict:
    if len(scores) != 1:
        raise ValueError(
            f"a TRL-style reward returned {len(scores)} scores for one completion; it must return one each"
        )
    score = None if scores[0] is None else float(scores[0])  # a number of NumPy or torch is one
    return UnboundedVerdict(score=score, reason="TRL-style reward")
