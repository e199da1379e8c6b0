r"""Is the final answer to a question of science right? Rules decide first, and a judge where they find no match.

Where the row has `options`, the rule is `multiple_choice`, else `math_answer`. What the rule calls right is right.
Without a judge the rule's verdict is all there is: an answer in other words than the gold answer's is then wrong. With
one, it decides on what the rule calls wrong or cannot read the gold answer of, unless nothing is left to decide:

- an answer without a box (or, with options, without a closing phrase), an empty one, one of more than 300 characters;
- an answer that names another option by letter or text, several of them, or none that there is;
- an unfinished calculation where the gold answer is a number: a judge would work it out, and a policy would learn to
  box the question (`\boxed{37*43}`).

The judge sees the last user message, the gold answer and what is in the box: no thinking and no working, which could
talk it round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewards._boxed import last_box
from rewards._calculation import is_calculation, is_number
from rewards._choices import NO_OPTION, final_choice, read_gold, read_options
from rewards._judge import Judge
from rewards._latex import MAX_CHARACTERS
from rewards._printable import printable
from rewards.contract import Attempt, Case, Reward, Verdict
from rewards.math_answer import gold_answer as gold_answer  # its box is the form of every gold here
from rewards.math_answer import math_answer
from rewards.multiple_choice import multiple_choice

SEES = ("prompt", "answer", "is_truncated", "row")

_LONGEST_TEXT = 20_000  # characters of the question and of the gold answer


@dataclass(frozen=True)
class ScienceAnswer:
    """Rules first, then a judge; see the module.

    Attributes:
        judge: the settings of a judge (see `rewards._judge.Judge` and the README), or None: rules only.

    Raises:
        ValueError: the judge's settings make no sense.
    """

    judge: Judge | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Read the judge's settings."""
        if isinstance(self.judge, Mapping):
            object.__setattr__(self, "judge", Judge.from_settings(self.judge))

    def __call__(self, attempt: Attempt) -> Verdict:
        """Compare the final answer with the gold `row["answer"]` (a string), given `row["options"]` if it has them.

        Returns:
            Score 1 or 0 with the same outcome. Score None where the row has no gold answer, where no judge is set and
            the rule cannot read it, and where the judge gives no verdict that can be read or its budget is spent.

        Raises:
            JudgeDownError: the judge does not answer; the caller counts that.
            JudgeRefusedError: it does not take our requests; the same.
        """
        has_options = attempt.row.get("options") is not None
        ruled = multiple_choice(attempt) if has_options else math_answer(attempt)
        if ruled.outcome or not isinstance(self.judge, Judge):
            return ruled
        return _judged_choice(self.judge, attempt, ruled) if has_options else _judged(self.judge, attempt, ruled)


def _judged_choice(judge: Judge, attempt: Attempt, ruled: Verdict) -> Verdict:
    """With options only words that name none of them are left to judge."""
    final = final_choice(attempt.answer)
    if ruled.reason != NO_OPTION or final is None or not final[0].strip():
        return ruled
    options = read_options(attempt.row["options"])
    letter = read_gold(attempt.row["answer"], options)
    return _ask(judge, attempt, ruled, gold=f"{letter}: {options[letter]}", answer=final[0])


def _judged(judge: Judge, attempt: Attempt, ruled: Verdict) -> Verdict:
    gold, answer = attempt.row.get("answer"), last_box(attempt.answer)
    if not isinstance(gold, str) or not gold.strip():
        return ruled
    if answer is None or not answer.strip():
        return _wrong(ruled, r"no \boxed{...} with an answer" if ruled.score is None else ruled.reason)
    if len(answer) > MAX_CHARACTERS:
        return _wrong(ruled, f"longer than {MAX_CHARACTERS} characters", answer)
    if is_number(gold) and is_calculation(answer, gold):
        return _wrong(ruled, "a calculation that is not finished", answer)
    return _ask(judge, attempt, ruled, gold=gold, answer=answer)


def _ask(judge: Judge, attempt: Attempt, ruled: Verdict, *, gold: str, answer: str) -> Verdict:
    question = _question(attempt)
    if len(question) > _LONGEST_TEXT or len(gold) > _LONGEST_TEXT:
        return Verdict(None, reason=f"question or gold answer longer than the {_LONGEST_TEXT} characters for the judge")
    judgement = judge(question=question, gold=gold, answer=answer)
    reason = f"judge: {judgement.reason}"
    if judgement.verdict == "right":
        return Verdict(1.0, outcome=True, extracted=printable(answer, None), reason=reason)
    if judgement.verdict is None:
        return Verdict(None, extracted=printable(answer, None), reason=judgement.reason)
    return _wrong(ruled, f"{ruled.reason}; {reason}", answer)


def _wrong(ruled: Verdict, reason: str, answer: str | None = None) -> Verdict:
    return Verdict(
        0.0, outcome=False, extracted=ruled.extracted if answer is None else printable(answer, None), reason=reason
    )


def _question(attempt: Attempt) -> str:
    """The text of the last user message."""
    contents = [message.get("content") for message in attempt.prompt if message.get("role") == "user"]
    content = contents[-1] if contents else ""
    if isinstance(content, list):
        content = "\n".join(str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)
    return str(content or "")


EXAMPLE: Reward = ScienceAnswer()


def _case(answer: str, boxed: str, score: float | None, **row: Any) -> Case:
    return rf"So it is \boxed{{{boxed}}}.", {"answer": answer, **row}, score


_PLANETS = {"options": ["Venus", "Mars", "The Moon"]}
CASES: list[Case] = [
    _case(r"9.8\text{ m/s}^2", "9.8", 1.0),
    _case(r"9.8\text{ m/s}^2", "9.9", 0.0),
    _case(r"3\times10^{8}", "3e8", 1.0),
    _case("photosynthesis", r"\text{Photosynthesis}", 1.0),
    _case("photosynthesis", "the process by which plants use light", 0.0),
    _case("참", r"\text{참}", 1.0),
    _case("B", "B", 1.0),
    _case("B", "B", 1.0, **_PLANETS),
    _case("B", "Mars", 1.0, **_PLANETS),
    _case("B", "The answer is Mars", 0.0, **_PLANETS),
    _case("Mars", "B", 1.0, **_PLANETS),
    _case("B", "A", 0.0, **_PLANETS),
    _case("B", "A, B", 0.0, **_PLANETS),
    _case("Jupiter", "A", None, **_PLANETS),
    _case("B", "A", None, options="Venus, Mars"),
    ("La respuesta es (B).", {"answer": "B", **_PLANETS}, 1.0),
    ("It is photosynthesis.", {"answer": "photosynthesis"}, 0.0),
    ({"thinking": r"\boxed{7}", "answer": "Done."}, {"answer": "7"}, 0.0),
    ("", {"answer": "7"}, 0.0),
    (r"\boxed{7}", {"answer": 7}, None),
    (r"\boxed{7}", {}, None),
]
