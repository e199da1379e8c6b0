r"""Seventy pairs of a gold answer and a completion, with the verdict that a fair person gave, and where ours differs.

The Spanish pairs are graded with `language: es`, as a row would say it.
"""

import json
from pathlib import Path

import pytest

from rewards import make_attempt
from rewards.math_answer import math_answer

PAIRS = json.loads(Path(__file__).with_name("math_pairs.json").read_text(encoding="utf-8"))
LANGUAGES = {"Korean": "ko", "Spanish": "es"}

NO_BOX = "a box is asked for in the prompt, so that the answer need not be guessed from the text"
ECHO = "for a number the calculation must be done: a policy learns to box the question itself"
EXACT = "a decimal is right when it is equal; rounding is allowed only where there is no finite decimal"
OURS_DIFFERS = {
    ("7", "The final answer is $7$."): NO_BOX,
    ("12", "따라서 최종 답은 $12$ 이다."): NO_BOX,
    ("12", "답: 12개"): NO_BOX,
    ("12", r"\boxed{3\cdot4}"): ECHO,
    ("12", r"\boxed{\sum_{k=1}^{3} 2k}"): ECHO,
    ("3628800", r"\boxed{10!}"): ECHO,
    ("1000000000", r"\boxed{1000000000.0000001}"): EXACT,
}


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{index}-{pair['group']}" for index, pair in enumerate(PAIRS)])
def test_verdict_is_the_fair_one_or_a_policy(pair: dict[str, object]) -> None:
    row = {"answer": pair["gold"], "language": LANGUAGES.get(str(pair["group"]), "en")}
    verdict = math_answer(make_attempt(str(pair["completion"]), row))
    policy = OURS_DIFFERS.get((str(pair["gold"]), str(pair["completion"])))
    assert verdict.outcome is (not pair["fair"] if policy else pair["fair"]), policy or verdict.reason


def test_every_policy_is_about_a_pair() -> None:
    assert set(OURS_DIFFERS) <= {(pair["gold"], pair["completion"]) for pair in PAIRS}
