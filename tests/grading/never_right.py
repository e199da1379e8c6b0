"""A reward to which every gold answer is wrong; light, for worker processes to import."""

from collections.abc import Mapping
from typing import Any

from rewards.contract import Attempt, Verdict


def never(_: Attempt) -> Verdict:
    return Verdict(0.0, outcome=False, reason="never good enough")


def gold_answer(row: Mapping[str, Any]) -> str:
    return str(row["answer"])
