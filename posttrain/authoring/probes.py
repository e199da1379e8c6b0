"""What a reward is asked about each row: the gold answer, the empty answer, and answers that are after its life."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from posttrain.grading import empty_attempt
from posttrain.grading.gold import gold_attempt
from posttrain.grading.grader import LoadedReward
from rewards.contract import Attempt, Verdict

Kind = Literal["gold", "empty", "hostile"]

HOSTILE = [
    "a" * 10_000,
    "\x00\x00",
    "\\boxed{\x00}",
    "\\boxed{\ud800}",
    "\ud83d \udfff" * 100,
    "\\boxed{" * 3_000,
    "\\boxed{" + "{" * 5_000 + "7" + "}" * 5_000 + "}",
    "\\boxed{" + "(" * 100 + "7" + ")" * 100 + "}",
    "\\boxed{" + "{" * 15 + "7" + "}" * 15 + "}",
    "\\boxed{" + "1," * 140 + "1}",
    "\\boxed{9^{9^{9}}}",
    "\\boxed{9^{(9^9)}}",
    "\\boxed{2^{1000000000}}",
    "\\boxed{1e999999999}",
    "\\boxed{100000000!}",
    "\\boxed{10^8!}",
    "\\boxed{5!!!}",
    "\\boxed{" + "9" * 5_000 + "}",
    "\\boxed{\\frac{1}{0}}",
    "\\boxed{0/0}",
    "\\boxed{\\sqrt{-1}}",
    "\\boxed{\\frac{\\pi}{0}}",
    "\\boxed{\\frac{1}{\\sqrt{0}}}",
    "\\boxed{" + "e^{999}" * 40 + "}",
    "\\boxed{" + "\\frac{1}{" * 300 + "2" + "}" * 300 + "}",
    "\\boxed{٣²₅½⅟ﷺ}",
    "\\boxed{\\text{}}",
    "\\boxed{$}",
    "\\boxed{\\}",
    "```" * 3_001,
    "`" * 10_001,
    "$" * 10_001,
    "$a" * 5_000,
    "\\(" * 5_000,
    "\\[" * 5_000,
    "<" * 10_000,
    "<think>" * 2_000,
    "가" * 10_000,
    "1 " * 5_000,
]


class Probe(NamedTuple):
    """An attempt at a row."""

    kind: Kind
    row: int
    attempt: Attempt


def make_probes(reward: LoadedReward, rows: Sequence[Mapping[str, Any]]) -> Iterator[Probe]:
    """The gold answer where the row has one, the empty answer, and hostile ones: the first row gets all of them.

    Raises:
        UserError: as in `gold_attempt`.
    """
    for number, row in enumerate(rows):
        gold, attempt = gold_attempt(reward, number, row)
        if gold is not None:
            yield Probe("gold", number, attempt)
        empty = empty_attempt(row, mode=row["mode"])
        yield Probe("empty", number, empty)
        for text in HOSTILE if number == 0 else [HOSTILE[number % len(HOSTILE)]]:
            yield Probe("hostile", number, replace(empty, answer=text))


def is_as_it_should(probe: Probe, verdict: Verdict, style: str) -> bool:
    """Whether a reward may say this: the gold answer is not wrong, others are not right, and nothing earns nothing.

    A reward without an outcome says nothing of right and wrong, and one for TRL may pay what it likes.
    """
    if probe.kind == "gold":
        return verdict.outcome is not False
    earns = probe.kind == "empty" and style == "attempt" and bool(verdict.score)
    return verdict.outcome is not True and not earns
