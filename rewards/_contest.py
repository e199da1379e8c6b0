"""A contest of the answers to one prompt: who takes part, who meets whom, and the verdict of those that meet nobody."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewards.contract import Attempt, Verdict


def takes_part(attempt: Attempt) -> bool:
    """Whether an answer can win at all: it is complete, and there is one."""
    return bool(attempt.answer.strip()) and not attempt.is_truncated


def verdict_without_contest(attempt: Attempt, group: Sequence[Attempt]) -> Verdict:
    """The verdict of an attempt that met no other of its group: no answer or half of one loses, the only other wins."""
    if attempt.is_truncated:
        return Verdict(0.0, reason="cut off")
    if not attempt.answer.strip():
        return Verdict(0.0, reason="no answer")
    if all(map(takes_part, group)):
        return Verdict(None, reason="no other answer to compare it with")
    return Verdict(1.0, reason="the only answer")


def pairings(num_players: int, num_rounds: int, seed: str) -> Iterator[tuple[int, int]]:
    """The games of the first rounds of a round-robin tournament, by the circle method.

    In a round everybody plays once (of an odd number one sits out), and no two ever meet twice. So every player has the
    same number of games, give or take one, whatever the number of rounds.

    Args:
        num_players: from 0 up.
        num_rounds: from 1 up; there are at most `num_players - 1`, or one more of an odd number.
        seed: of the order in which the players take their places.
    """
    circle: list[int | None] = list(random.Random(seed).sample(range(num_players), num_players))
    if num_players % 2:
        circle.append(None)
    for _ in range(min(num_rounds, len(circle) - 1)):
        half = len(circle) // 2
        for one, other in zip(circle[:half], reversed(circle[half:]), strict=True):
            if one is not None and other is not None:
                yield one, other
        circle = [circle[0], circle[-1], *circle[1:-1]]


def conversation(prompt: Sequence[Mapping[str, Any]]) -> str:
    """The text of a prompt: a single question as it is, anything longer with the name of who speaks."""
    texts = [(str(message.get("role")), _text(message.get("content"))) for message in prompt]
    return texts[0][1] if len(texts) == 1 else "\n\n".join(f"{role}: {text}" for role, text in texts)


def _text(content: Any) -> str:
    if isinstance(content, list):
        content = "\n".join(str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)
    return str(content or "")
