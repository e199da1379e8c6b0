"""The record under which a graded completion is kept in `samples.jsonl`."""

from dataclasses import asdict
from typing import Any

from posttrain.grading.grader import Graded
from rewards.contract import Attempt


def sample_record(attempt: Attempt, graded: Graded, *, stage: str, step: int, **extra: Any) -> dict[str, Any]:
    """One line of `samples.jsonl`; `extra` adds a stage's own columns (group type, advantage, decoding)."""
    return {
        "stage": stage,
        "step": step,
        "mode": attempt.mode,
        "language": attempt.row.get("language"),
        "domain": attempt.row.get("domain"),
        "prompt": attempt.prompt,
        "thinking": attempt.thinking,
        "answer": attempt.answer,
        "is_truncated": attempt.is_truncated,
        "num_tokens": attempt.num_tokens,
        "num_thinking_tokens": attempt.num_thinking_tokens,
        "reward": graded.reward,
        "outcome": graded.outcome,
        "verdicts": {name: asdict(verdict) for name, verdict in graded.verdicts.items()},
        **extra,
    }
