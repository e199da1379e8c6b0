"""Is the last line of the answer the gold answer?"""

from collections.abc import Mapping
from typing import Any

from rewards.contract import Attempt, Case, Reward, Verdict

SEES = ("answer", "row")  # what is looked at; take it away if that is more


def my_reward(attempt: Attempt) -> Verdict:
    """Score 1 when the last line of the answer is the gold answer `row["answer"]`, else 0.

    Score None when the row has no gold answer: that is not the model's fault.
    """
    gold = attempt.row.get("answer")
    if not isinstance(gold, str) or not gold.strip():
        return Verdict(None, reason=f"row['answer'] is {gold!r}, need text")
    last_line = attempt.answer.strip().rpartition("\n")[2]
    if last_line.strip() == gold.strip():
        return Verdict(1.0, outcome=True, extracted=last_line)
    return Verdict(0.0, outcome=False, extracted=last_line, reason="the last line is not the gold answer")


def gold_answer(row: Mapping[str, Any]) -> str | None:
    """What a model would write that knows the gold answer; `posttrain rewards check` and RL grade it at every row."""
    gold = row.get("answer")
    return f"Let me see.\n{gold}" if isinstance(gold, str) else None


EXAMPLE: Reward = my_reward

# (the answer, or several fields of the attempt; the row; the score)
CASES: list[Case] = [
    ("Let me see.\n12", {"answer": "12"}, 1.0),
    ("Let me see.\n13", {"answer": "12"}, 0.0),
    ("12\nor 13", {"answer": "12"}, 0.0),
    ("", {"answer": "12"}, 0.0),
    ("12", {}, None),
    ("12", {"answer": 12}, None),
]
