"""The text that needles are hidden in: sentences whose tokens are known, drawn to a number of tokens."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from posttrain.haystack.languages import Language

NUM_SENTENCES = 1000  # generated for a language and seed
NUM_PEOPLE = 150  # about whom the text of facts says something
_BEFORE = "."  # a sentence is measured behind one


class Hay:
    """Sentences, each with the tokens that it adds to a text.

    Args:
        sentences: at least one.
        num_tokens: of each, as it adds to a text; see `count_tokens`.
        is_in_order: drawn one after the other from a random one on, as they stand in a text; else each is drawn once
            before any is drawn again.
    """

    def __init__(self, sentences: Sequence[str], num_tokens: Sequence[int], *, is_in_order: bool = False) -> None:
        self._num_tokens = dict(zip(sentences, num_tokens, strict=True))
        self._sentences = sentences
        self._is_in_order = is_in_order
        self._by_size: dict[int, list[str]] = defaultdict(list)
        for sentence, size in self._num_tokens.items():
            self._by_size[size].append(sentence)

    @property
    def num_tokens(self) -> int:
        """Of all different sentences together."""
        return sum(self._num_tokens.values())

    def num_tokens_of(self, sentence: str) -> int:
        """What a sentence adds to a text."""
        return self._num_tokens[sentence]

    def without(self, sentences: Sequence[str]) -> "Hay":
        """The rest."""
        rest = [sentence for sentence in self._sentences if sentence not in sentences]
        return Hay(rest, [self._num_tokens[sentence] for sentence in rest], is_in_order=self._is_in_order)

    def draw(self, rng: random.Random, num_tokens: int) -> list[str]:
        """Sentences of exactly so many tokens, or of fewer where none add up to that.

        The last one or two are picked by their size; the others are the same for the same state of `rng`, whatever the
        number of tokens: a longer text goes on where the shorter one ends.
        """
        drawn: list[str] = []
        missing = num_tokens
        for sentence in self._order(rng):
            if self._num_tokens[sentence] > missing:
                break
            drawn.append(sentence)
            missing -= self._num_tokens[sentence]
        kept, open_tokens = list(drawn), missing
        for _ in range(3):
            if ending := self._exactly(open_tokens, rng):
                return [*kept, *ending]
            if open_tokens == 0 or not kept:
                break
            open_tokens += self._num_tokens[kept.pop()]
        return drawn

    def _order(self, rng: random.Random) -> Iterator[str]:
        if self._is_in_order:
            for index in count(rng.randrange(len(self._sentences))):
                yield self._sentences[index % len(self._sentences)]
        while True:
            waiting = list(self._sentences)
            while waiting:  # a shuffle of no more than is asked for
                at = rng.randrange(len(waiting))
                waiting[at], waiting[-1] = waiting[-1], waiting[at]
                yield waiting.pop()

    def _exactly(self, num_tokens: int, rng: random.Random) -> list[str]:
        """One or two sentences of so many tokens; none where there are none such."""
        if num_tokens in self._by_size:
            return [rng.choice(self._by_size[num_tokens])]
        pairs = [(one, num_tokens - one) for one in self._by_size if num_tokens - one in self._by_size]
        return [rng.choice(self._by_size[size]) for size in rng.choice(pairs)] if pairs else []


def count_tokens(tokenizer: Any, sentences: Sequence[str]) -> list[int]:
    """What each sentence adds to a text."""
    texts = [_BEFORE, *(f"{_BEFORE} {sentence}" for sentence in sentences)]
    before, *each = map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])
    return [max(1, size - before) for size in each]


def generated_sentences(language: Language, rng: random.Random) -> list[str]:
    """Different sentences of a small grammar; no two have the same parts in the same order."""
    sentences: dict[str, None] = {}
    while len(sentences) < NUM_SENTENCES:
        sentence = rng.choice(language.sentences).format(
            time=rng.choice(language.times),
            actor=rng.choice(language.actors),
            deed=rng.choice(language.deeds),
            place=rng.choice(language.places),
        )
        sentences[sentence[0].upper() + sentence[1:]] = None
    return list(sentences)


def generated_facts(language: Language, rng: random.Random) -> list[str]:
    """Where some people live, work and so on; nobody has two towns for the same."""
    names = [
        language.person.format(given=given, family=family) for given in language.given for family in language.family
    ]
    return [
        statement.format(person=person, town=rng.choice(language.towns))
        for person in rng.sample(names, NUM_PEOPLE)
        for statement, _ in language.facts
    ]


def listed_words(language: Language, rng: random.Random) -> list[str]:
    """The words of the language's list, in a random order."""
    return rng.sample(language.words, len(language.words))
