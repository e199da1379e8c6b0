r"""Does the answer name the right one of several options?

What is graded is the last `\boxed{...}` of the answer. Where it has none, its last line may end with "The answer is
(B)", "정답은 B", "La respuesta es B" instead, or other forms of these; a letter anywhere else is no answer.

- A letter counts as `B`, `b`, `(B)`, `B.`, `B)`, `\text{B}`, `Option B`. The circled numbers of Korean tests count by
  their place: `②` is B. Plain numbers, `나` and `ㄴ` are no labels, because they are as often an option's text.
- What follows the letter (`B) 12 m`) must be the text of that option. Where the row has no options any words may
  follow in a box, and none after a phrase.
- Where the row has options, an option's text counts as its letter, if it is that of one option only. A letter is a
  label before it is a text.
- More than one option is wrong, right one or not: `A, B`, `A or B`, a box that echoes the options.
"""

from collections.abc import Mapping
from typing import Any

from rewards._choices import choose, final_choice, read_gold, read_options
from rewards._printable import printable
from rewards.contract import Attempt, Case, Reward, Verdict

SEES = ("answer", "is_truncated", "row")


def multiple_choice(attempt: Attempt) -> Verdict:
    """Compare the option that the answer names with the gold `row["answer"]`, a letter A-Z or an option's text.

    `row["options"]` may have the options: a list of texts, the first of which is A, or a mapping of letters to texts.

    Returns:
        Score 1 or 0 with the same outcome, and what was read as the final answer. Score None when the row's options or
        gold answer cannot be read.
    """
    try:
        options = read_options(attempt.row.get("options"))
        gold = read_gold(attempt.row.get("answer"), options)
    except ValueError as error:
        return Verdict(None, reason=printable(str(error), None))
    final = final_choice(attempt.answer)
    if final is None:
        reason = "truncated" if attempt.is_truncated else r"no \boxed{...} and no closing phrase in the last line"
        return Verdict(0.0, outcome=False, reason=reason)
    text, is_box = final
    extracted = printable(text)
    letter, fault = choose(text, options, may_describe=is_box)
    if letter == gold:
        return Verdict(1.0, outcome=True, extracted=extracted)
    return Verdict(0.0, outcome=False, extracted=extracted, reason=fault or f"{letter}, not {gold}")


def gold_answer(row: Mapping[str, Any]) -> str | None:
    """The gold option in a box."""
    gold = row.get("answer")
    return rf"\boxed{{{gold}}}" if isinstance(gold, str) else None


EXAMPLE: Reward = multiple_choice

_LETTER = {"answer": "B"}
_LISTED = {"answer": "B", "options": ["5 m", "12 m", "13 m", "17 m"]}
_MAPPED = {"answer": "Mars", "options": {"A": "Venus", "B": "Mars", "C": "The Moon", "D": None}}


def _box(text: str) -> str:
    return rf"So it is \boxed{{{text}}}."


CASES: list[Case] = [
    (_box("B"), _LETTER, 1.0),
    (_box("(B)"), _LETTER, 1.0),
    (_box("b."), _LETTER, 1.0),
    (_box(r"\text{B}"), _LETTER, 1.0),
    (_box(r"\textbf{(B)}"), _LETTER, 1.0),
    (_box("Option B"), _LETTER, 1.0),
    (_box("Ｂ"), _LETTER, 1.0),
    (_box("②"), _LETTER, 1.0),
    (_box("B) 12 m"), _LETTER, 1.0),
    (_box("B. Vitamin C"), _LETTER, 1.0),
    (_box("C"), _LETTER, 0.0),
    (_box("2"), _LETTER, 0.0),
    (_box("나"), _LETTER, 0.0),
    (_box("A, B"), _LETTER, 0.0),
    (_box("B or C"), _LETTER, 0.0),
    (_box("(B) or (C)"), _LETTER, 0.0),
    (_box("B) 12 m, C) 13 m"), _LETTER, 0.0),
    (_box("ABCD"), _LETTER, 0.0),
    (_box("not A"), _LETTER, 0.0),
    (_box(""), _LETTER, 0.0),
    ("\\boxed{A}, no: \\boxed{B}", _LETTER, 1.0),
    ("\\boxed{B}, no: \\boxed{A}", _LETTER, 0.0),
    ("The answer is (B), I think. \\boxed{A}", _LETTER, 0.0),
    ("A is too small.\nThe answer is (B).", _LETTER, 1.0),
    ("A is too small. So the correct answer is **B**.", _LETTER, 1.0),
    ("Answer: B", _LETTER, 1.0),
    ("따라서 정답은 B입니다.", _LETTER, 1.0),
    ("정답: ②번", _LETTER, 1.0),
    ("Por lo tanto, la respuesta es la B.", _LETTER, 1.0),
    ("The answer is B, or maybe C.", _LETTER, 0.0),
    ("The answer is B. No, the answer is C.", _LETTER, 0.0),
    ("The answer is B. Or is it?", _LETTER, 0.0),
    ("The answer is not B.", _LETTER, 0.0),
    ("The answer is B.\nThat was easy.", _LETTER, 0.0),
    ("The answer is\nB", _LETTER, 0.0),
    ("B", _LETTER, 0.0),
    ({"thinking": r"The answer is \boxed{B}.", "answer": "Done."}, _LETTER, 0.0),
    ({"answer": "", "thinking": "hm", "is_truncated": True}, _LETTER, 0.0),
    (_box("12 m"), _LISTED, 1.0),
    (_box(r"12\text{ m}"), _LISTED, 1.0),
    (_box("B) 12 m"), _LISTED, 1.0),
    ("The answer is B. 12 m.", _LISTED, 1.0),
    (_box("13 m"), _LISTED, 0.0),
    (_box("B) 13 m"), _LISTED, 0.0),
    (_box("12"), _LISTED, 0.0),
    (_box("E"), _LISTED, 0.0),
    (_box("A) 5 m B) 12 m C) 13 m D) 17 m"), _LISTED, 0.0),
    (_box("5 m, 12 m, 13 m, 17 m"), _LISTED, 0.0),
    (_box("B"), _MAPPED, 1.0),
    (_box("mars"), _MAPPED, 1.0),
    (_box("Mars, not Venus"), _MAPPED, 0.0),
    (_box("A"), {"answer": "(A) Yes", "options": ["(A) Yes", "(B) No"]}, 1.0),
    (_box("same"), {"answer": "A", "options": ["same", "same"]}, 0.0),
    (_box("A"), {"answer": "A", "options": ["B", "A"]}, None),
    (_box("A"), {"answer": "same", "options": ["same", "same"]}, None),
    (_box("A"), {"answer": "E", "options": ["Yes", "No"]}, None),
    (_box("A"), {"answer": "A", "options": "Yes or no"}, None),
    (_box("A"), {"answer": "A", "options": {"label": ["A"], "text": ["Yes"]}}, None),
    (_box("A"), {"answer": 0, "options": ["Yes", "No"]}, None),
    (_box("B"), {"answer": "12 m"}, None),
    (_box("B"), {"answer": "A, B"}, None),
    (_box("B"), {}, None),
]
