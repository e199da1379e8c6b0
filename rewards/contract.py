"""What a reward gets, what it gives back, and the three ways in which things can be wrong.

A reward is any callable `Attempt -> Verdict`. It sees one attempt at a time and keeps no state; batching, processes
and time limits belong to its caller. Three things can be wrong, and they must never look alike:

- the **model's output** is bad: `Verdict(score=0.0, reason="...")`. The model is told, whatever it wrote.
- the **reference row** is bad (no gold answer, an unknown language): `Verdict(score=None, reason="...")`. The sample
  leaves the group, its baseline and the loss, because a 0 would teach the model that a right answer is wrong.
- the **grader** is bad: it raises, or hangs, or ends its process. The caller counts that and stops when it happens
  often; it never becomes a 0.

A reward may be `async def`, as one that asks a judge should be: many attempts are then under way at a time.

Some can only be judged side by side, such as which of several answers a reader would rather have. A **group reward** is
a callable `Sequence[Attempt] -> Sequence[Verdict]`: all attempts at one prompt in, a verdict for each out, in the same
order. It declares `GRADES_GROUPS = True`, and how many groups may be in its hands at a time as `groups_at_a_time` (1
where it does not say). It runs in the process of the stage, with no time limit but its own.

Beside the call a reward may declare three things, each as an attribute of its own or, for a plain function, as a name
of its module (see `declared`):

- `gold_answer(row) -> str | None`: the answer that a model would write that knows the gold of the row, None where the
  row has none. With it, data are checked before anything is trained on them: the gold must pass its own grader.
- `SEES`: the fields of `Attempt` that it looks at, such as `("answer", "row")`. It is then shown no others, and
  attempts that differ in others alone are graded once.
- `describe() -> Mapping[str, str]`: what of the machine its verdicts depend on, such as the sandbox. It is called once,
  when the reward is loaded, and kept in the run's manifest; where the reward cannot work on this machine it raises, and
  the run does not start.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sampled response, already split by the chat format, with the dataset row it answers.

    Attributes:
        prompt: The messages that were sent.
        answer: The visible text: what the user would read, without the thinking.
        thinking: The text of the thinking block; None when the model emitted none.
        mode: The mode that was asked for, "reasoning" or "non_reasoning".
        is_truncated: The response met the token limit before it ended.
        num_tokens: Tokens of the whole response.
        num_thinking_tokens: Those of them that were spent on thinking.
        row: The other columns of the dataset row, such as `answer` (the gold, a string), `language` and `domain`.
    """

    prompt: list[dict[str, Any]]
    answer: str
    thinking: str | None
    mode: str
    is_truncated: bool
    num_tokens: int
    num_thinking_tokens: int
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reward says about an attempt.

    Attributes:
        score: 0 to 1, or None: it cannot be judged.
        outcome: Is the answer correct? None: this reward does not say. It decides whether a group of attempts is
            all-correct, mixed or all-wrong, so a reward about style or length must leave it None.
        extracted: The part of the answer that was graded, for the log.
        reason: Why, in a few words, for the log; always given when the score is not 1.

    Raises:
        ValueError: The score is not a number in [0, 1], or there is an outcome without a score.
    """

    score: float | None
    outcome: bool | None = None
    extracted: str | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse what no reward may say: a mistake here is the grader's, so it raises."""
        if self.score is not None and not (isinstance(self.score, int | float) and 0 <= self.score <= 1):
            raise ValueError(
                f"a reward returned the score {self.score!r} ({type(self.score).__name__}): a score is a number from 0 "
                "to 1, int or float, or None when nothing can be judged; rescale it inside the reward, and use "
                "`weight` in the recipe to make it matter more"
            )
        if self.score is None and self.outcome is not None:
            raise ValueError(
                f"a reward returned the outcome {self.outcome} without a score: what cannot be judged has no outcome, "
                "so return both or neither"
            )


Reward = Callable[[Attempt], Verdict]
GroupReward = Callable[[Sequence[Attempt]], Sequence[Verdict]]
GoldAnswer = Callable[[Mapping[str, Any]], str | None]


def declared(reward: object, name: str) -> Any:
    """What a reward declares under `name`, itself or else in the module that defines it; None where neither does."""
    module = sys.modules.get(getattr(reward, "__module__", None) or "")
    return getattr(reward, name, getattr(module, name, None))


def grades_groups(reward: object) -> bool:
    """Whether it is a `GroupReward`."""
    return declared(reward, "GRADES_GROUPS") is True


def gold_answer_of(reward: object, row: Mapping[str, Any]) -> str | None:
    """The answer to `row` that has to pass `reward`; None where the reward, or the row, has none."""
    write: GoldAnswer | None = declared(reward, "gold_answer")
    return None if write is None else write(row)


_UNSEEN = Attempt(
    prompt=[],
    answer="",
    thinking=None,
    mode="non_reasoning",
    is_truncated=False,
    num_tokens=0,
    num_thinking_tokens=0,
    row={},
)


def seen_attempt(reward: object, attempt: Attempt) -> Attempt:
    """The attempt as `reward` is shown it: without the fields that its `SEES` leaves out.

    Raises:
        ValueError: `SEES` is no collection of fields of an attempt.
    """
    sees: Collection[str] | None = declared(reward, "SEES")
    if sees is None:
        return attempt
    known = [field.name for field in fields(Attempt)]
    if isinstance(sees, str) or not set(sees) <= set(known):
        raise ValueError(f"SEES is {sees!r}; need names of fields of Attempt: {', '.join(known)}")
    return Attempt(**{name: getattr(attempt if name in sees else _UNSEEN, name) for name in known})


# A worked example: (the answer, or several fields of the attempt; the row; the score that `EXAMPLE` must give).
# Every module of this package has an EXAMPLE (a reward) and its CASES; one test runs them all.
Case = tuple[str | Mapping[str, Any], Mapping[str, Any], float | None]
GroupCase = tuple[Sequence[str | Mapping[str, Any]], Mapping[str, Any], Sequence[float | None]]


def make_attempt(fields: str | Mapping[str, Any], row: Mapping[str, Any]) -> Attempt:
    """An attempt for a test: give what matters, the rest is filled in.

    Args:
        fields: The answer, or fields of `Attempt` by name. By default a complete answer without thinking; the mode is
            "reasoning" where a thinking is given, and tokens are counted as words.
        row: The other columns of the dataset row.
    """
    given: dict[str, Any] = {"answer": fields} if isinstance(fields, str) else dict(fields)
    answer, thinking = str(given.get("answer", "")), given.get("thinking")
    num_thinking_tokens = int(given.get("num_thinking_tokens", len((thinking or "").split())))
    defaults: dict[str, Any] = {
        "prompt": [{"role": "user", "content": "?"}],
        "answer": answer,
        "thinking": None,
        "mode": "non_reasoning" if thinking is None else "reasoning",
        "is_truncated": False,
        "num_tokens": num_thinking_tokens + len(answer.split()),
        "num_thinking_tokens": num_thinking_tokens,
        "row": row,
    }
    return Attempt(**(defaults | given))
