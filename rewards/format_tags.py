"""Is the response in the mode that was asked for?

The chat template writes the opening tag, so a response never contains it: whoever splits the response into thinking
and answer has taken the closing tag out too. A tag that is still there was written where it does not belong.
"""

import re

from rewards.contract import Attempt, Case, Reward, Verdict

_TAG = re.compile(r"<\s*/?\s*think(?:ing)?\s*>", re.IGNORECASE)


def format_tags(attempt: Attempt) -> Verdict:
    """Score 1 when the response keeps to its mode, else 0; it says nothing about correctness.

    - reasoning: a thinking that is not empty and was closed, then an answer that is not empty;
    - non-reasoning: an answer that is not empty, and no thinking;
    - both: no `<think>` or `</think>` inside the text.

    A mode other than these two is a fault of the row: score None.
    """
    if attempt.mode not in ("reasoning", "non_reasoning"):
        return Verdict(None, reason=f"unknown mode {attempt.mode!r}")
    fault = _fault(attempt)
    return Verdict(1.0) if fault is None else Verdict(0.0, reason=fault)


def _fault(attempt: Attempt) -> str | None:
    thinking = attempt.thinking or ""
    has_thinking = bool(thinking.strip())
    if attempt.mode == "reasoning":
        if not has_thinking:
            return "no thinking in reasoning mode"
        if attempt.is_truncated:
            return "truncated"
    elif has_thinking:
        return "thinking in non-reasoning mode"
    if not attempt.answer.strip():
        return "no answer"
    if _TAG.search(attempt.answer):
        return "a thinking tag in the answer"
    if _TAG.search(thinking):
        return "a thinking tag inside the thinking"
    return None


EXAMPLE: Reward = format_tags

_ROW: dict[str, str] = {}
CASES: list[Case] = [
    ({"thinking": "2+2=4", "answer": "It is 4."}, _ROW, 1.0),
    ("It is 4.", _ROW, 1.0),
    ({"mode": "reasoning", "answer": "It is 4."}, _ROW, 0.0),
    ({"thinking": " \n", "answer": "It is 4."}, _ROW, 0.0),
    ({"thinking": "2+2=4", "answer": ""}, _ROW, 0.0),
    ({"thinking": "2+2=4", "answer": "It is", "is_truncated": True}, _ROW, 0.0),
    ({"thinking": "2+2=4", "answer": "<think>really?</think> It is 4."}, _ROW, 0.0),
    ({"thinking": "<think>2+2=4", "answer": "It is 4."}, _ROW, 0.0),
    ({"thinking": "2+2=4", "answer": "It is 4.", "mode": "non_reasoning"}, _ROW, 0.0),
    ({"thinking": "", "answer": "It is 4.", "mode": "non_reasoning"}, _ROW, 1.0),
    ("It is 4.</think>", _ROW, 0.0),
    ({"answer": "It is 4.", "mode": "fast"}, _ROW, None),
]
