"""What is asked for, drawn anew for each question: codes, things, variables, people, words.

Half of all that can be drawn is kept for evaluations, by a hash: what is trained on is never asked there.
"""

import hashlib
import random
import string
from collections.abc import Callable
from typing import Literal

from posttrain.errors import UserError
from posttrain.haystack.languages import Language

Split = Literal["training", "evaluation"]
_TRIES = 2000


def split_of(value: str) -> Split:
    """Which of them may draw this value, for ever."""
    return "evaluation" if hashlib.sha256(f"held out {value}".encode()).digest()[0] % 2 else "training"


class Draws:
    """Random values for one text, of one split, none of them twice.

    Args:
        rng: where they come from.
        language: of keys, people and words.
        split: see `split_of`.
    """

    def __init__(self, rng: random.Random, language: Language, split: Split) -> None:
        self.rng = rng
        self.language = language
        self.drawn: set[str] = set()
        self._split = split

    def code(self) -> str:
        """Seven digits."""
        return self._new("codes", lambda: str(self.rng.randrange(1_000_000, 10_000_000)))

    def variable(self) -> str:
        """A capital letter and four digits."""
        choice = self.rng.choice
        return self._new("variables", lambda: choice(string.ascii_uppercase) + str(self.rng.randrange(1_000, 10_000)))

    def key(self) -> str:
        """A coloured thing."""
        words, choice = self.language, self.rng.choice
        return self._new("keys", lambda: words.key.format(colour=choice(words.colours), thing=choice(words.things)))

    def person(self) -> str:
        """Somebody's name."""
        words, choice = self.language, self.rng.choice
        return self._new("people", lambda: words.person.format(given=choice(words.given), family=choice(words.family)))

    def words(self, count: int) -> list[str]:
        """Different words of the list, which no other split has together."""
        together = self._new("words", lambda: " ".join(sorted(self.rng.sample(self.language.words, count))))
        return together.split()

    def town(self) -> str:
        """Any town, drawn before or not, of either split."""
        return self.rng.choice(self.language.towns)

    def depths(self, count: int, low: float = 0.0, high: float = 1.0) -> list[float]:
        """Places spread from `low` to `high`, going up."""
        return [low + (high - low) * (index + self.rng.random()) / count for index in range(count)]

    def _new(self, kind: str, draw: Callable[[], str]) -> str:
        for _ in range(_TRIES):
            value = draw()
            if value not in self.drawn and split_of(value) == self._split:
                self.drawn.add(value)
                return value
        raise UserError(f"a text has room for no more {kind} than the {len(self.drawn)} drawn so far; ask for fewer")
