"""Who meets whom, when all cannot meet all: the first rounds of a round-robin tournament."""

import random
from collections.abc import Iterator


def pairings(num_players: int, num_rounds: int, seed: str) -> Iterator[tuple[int, int]]:
    """The games of `num_rounds` rounds, or of all `num_players - 1` where there are no more (one more if it is odd).

    By the circle method: in a round everybody plays once (of an odd number one sits out), and no two meet twice. So
    every player has the same number of games, give or take one, whatever the number of rounds.

    Args:
        num_players: from 0 up.
        num_rounds: from 1 up.
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
