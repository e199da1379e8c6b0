"""Fewer thinking tokens for the same answer (the conciseness reward of EXAONE 4.0 section 2.4.3)."""

from dataclasses import dataclass

from rewards.contract import Attempt, Case, Reward, Verdict


@dataclass(frozen=True)
class Conciseness:
    """A straight line from score 1 at no thinking tokens down to 0 at `limit` thinking tokens and beyond.

    `score = max(0, 1 - num_thinking_tokens / limit)`. It pays for brevity alone: use it next to a reward for
    correctness, with a small weight. An attempt without an answer scores 0, or saying nothing would be best of all.

    Attributes:
        limit: Thinking tokens at which the score reaches 0.

    Raises:
        ValueError: `limit` is not positive.
    """

    limit: int

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        if self.limit <= 0:
            raise ValueError(
                f"Conciseness got limit={self.limit}: it needs a positive number of thinking tokens; "
                "a good start is the longest thinking that you still find useful"
            )

    def __call__(self, attempt: Attempt) -> Verdict:
        """Score the length of the thinking; the outcome stays None."""
        if not attempt.answer.strip():
            return Verdict(0.0, reason="no answer")
        score = max(0.0, 1 - attempt.num_thinking_tokens / self.limit)
        return Verdict(score, reason=f"{attempt.num_thinking_tokens} of {self.limit} thinking tokens")


EXAMPLE: Reward = Conciseness(limit=100)

_ROW: dict[str, str] = {}
CASES: list[Case] = [
    ({"answer": "4", "num_thinking_tokens": 0}, _ROW, 1.0),
    ({"answer": "4", "num_thinking_tokens": 25}, _ROW, 0.75),
    ({"answer": "4", "num_thinking_tokens": 100}, _ROW, 0.0),
    ({"answer": "4", "num_thinking_tokens": 5000}, _ROW, 0.0),
    ({"answer": "", "num_thinking_tokens": 0}, _ROW, 0.0),
]
