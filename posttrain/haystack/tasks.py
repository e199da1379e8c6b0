"""The tasks: what is hidden in a text, and what is asked about it.

After RULER (arXiv 2404.06654) and the needle in a haystack that it goes back to, in words of our own:

- `needle`: one code in the text.
- `multi_key`: several things with a code each, one is asked for.
- `multi_value`: several codes of one thing among codes of another one; all of it are asked for.
- `multi_query`: several things with a code each, several are asked for at once.
- `variables`: chains of variables that have their value from each other; all names with one value are asked for.
- `common_words`: a list of words; the most frequent ones are asked for.
- `qa`: facts about people, in a text of such facts; a town is asked for.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from posttrain.haystack.draws import Draws

HayKind = Literal["sentences", "facts", "words"]


class Insert(NamedTuple):
    """A sentence to be put into the text, at a depth from 0, its beginning, to 1."""

    sentence: str
    depth: float


class Question(NamedTuple):
    """A question, the values that answer it, and the sentence of a right answer."""

    text: str
    answer: str | list[str]
    reply: str


class Puzzle(NamedTuple):
    """What one text hides.

    Attributes:
        inserts: in the text.
        questions: about it.
        hay: the kind of text.
        unwanted: words that the text must be free of.
    """

    inserts: list[Insert]
    questions: list[Question]
    hay: HayKind = "sentences"
    unwanted: Sequence[str] = ()


# What is drawn, the depth of what each question asks for, the number of needles, and how often a text of the asked
# length has each word of a list.
Task = Callable[[Draws, Sequence[float], int, int], Puzzle]


def needle(draws: Draws, depths: Sequence[float], num_needles: int, rounds: int) -> Puzzle:
    """As many needles as questions."""
    return multi_key(draws, depths, 1, rounds)


def multi_key(draws: Draws, depths: Sequence[float], num_needles: int, rounds: int) -> Puzzle:
    """As many needles as questions, and `num_needles - 1` that nobody asks about."""
    words = draws.language
    inserts, questions = [], []
    for depth in depths:
        key, code = draws.key(), draws.code()
        said = words.code.format(key=key, code=code)
        inserts.append(Insert(said, depth))
        questions.append(Question(words.ask_code.format(key=key), code, said))
    return Puzzle(inserts + _other_needles(draws, num_needles - 1), questions)


def multi_value(draws: Draws, depths: Sequence[float], num_needles: int, rounds: int) -> Puzzle:
    """Half of the needles are about the thing that is asked for, the others about another one."""
    words, asked = draws.language, num_needles // 2
    inserts, questions = [], []
    for depth in depths:
        key, codes = draws.key(), [draws.code() for _ in range(asked)]
        inserts += _needles(draws, [key] * asked, codes, depth)
        reply = words.codes.format(key=key, codes=", ".join(codes))
        questions.append(Question(words.ask_codes.format(key=key), codes, reply))
    other = draws.key()
    others = [Insert(words.code.format(key=other, code=draws.code()), at) for at in draws.depths(num_needles - asked)]
    return Puzzle(inserts + others, questions)


def multi_query(draws: Draws, depths: Sequence[float], num_needles: int, rounds: int) -> Puzzle:
    """Half of the needles are asked for."""
    words, asked = draws.language, num_needles // 2
    inserts, questions = [], []
    for depth in depths:
        keys, codes = [draws.key() for _ in range(asked)], [draws.code() for _ in range(asked)]
        inserts += _needles(draws, keys, codes, depth)
        said = [words.code.format(key=key, code=code) for key, code in zip(keys, codes, strict=True)]
        ask = words.ask_keys.format(keys=words.between_keys.join(keys))
        questions.append(Question(ask, codes, " ".join(said)))
    return Puzzle(inserts + _other_needles(draws, num_needles - asked), questions)


def variables(draws: Draws, depths: Sequence[float], num_needles: int, rounds: int) -> Puzzle:
    """Half of the variables are in the chain that is asked for, the others in one that begins anywhere."""
    words, asked = draws.language, num_needles // 2
    inserts, questions = [], []
    for depth in depths:
        value, names = draws.code(), [draws.variable() for _ in range(asked)]
        inserts += _chain(draws, value, names, depth)
        reply = words.variables.format(value=value, names=", ".join(names))
        questions.append(Question(words.ask_variables.format(value=value), names, reply))
    others = [draws.variable() for _ in range(num_needles - asked)]
    return Puzzle(inserts + _chain(draws, draws.code(), others, draws.rng.random()), questions)


def common_words(draws: Draws, depths: Sequence[float], num_needles: int, rounds: int) -> Puzzle:
    """Half as many words as needles, at least thrice as often as any other, in the half of the text around the depth.

    A list has one question, whatever number is asked for.
    """
    words = draws.language
    frequent = draws.words(num_needles // 2)
    start = min(max(depths[0] - 0.25, 0.0), 0.5)
    occurrences = frequent * (3 * rounds + 6)  # the others: once a round, and twice at most among the last
    draws.rng.shuffle(occurrences)
    places = draws.depths(len(occurrences), start, start + 0.5)
    ask = words.ask_words.format(count=len(frequent))
    question = Question(ask, frequent, words.frequent.format(words=", ".join(frequent)))
    return Puzzle([Insert(*pair) for pair in zip(occurrences, places, strict=True)], [question], "words", frequent)


def qa(draws: Draws, depths: Sequence[float], num_needles: int, rounds: int) -> Puzzle:
    """A fact about somebody among other facts about the same person, and a text of facts about others."""
    words = draws.language
    inserts, questions = [], []
    for depth in depths:
        person = draws.person()
        facts = draws.rng.sample(words.facts, min(num_needles, len(words.facts)))
        towns = draws.rng.sample(words.towns, len(facts))
        said = [fact.format(person=person, town=town) for (fact, _), town in zip(facts, towns, strict=True)]
        inserts += [Insert(said[0], depth), *map(Insert, said[1:], draws.depths(len(said) - 1))]
        questions.append(Question(facts[0][1].format(person=person), towns[0], said[0]))
    return Puzzle(inserts, questions, "facts")


TASKS: dict[str, Task] = {
    "needle": needle,
    "multi_key": multi_key,
    "multi_value": multi_value,
    "multi_query": multi_query,
    "variables": variables,
    "common_words": common_words,
    "qa": qa,
}


def place(hay: Sequence[str], sizes: Sequence[int], inserts: Sequence[Insert]) -> list[str]:
    """The sentences of a text with the inserts among them, each at the boundary that is nearest to its depth.

    Args:
        hay: the sentences.
        sizes: their tokens.
        inserts: those for the same boundary stay in their order.
    """
    total, read, placed = sum(sizes), 0, []
    waiting = sorted(inserts, key=lambda insert: insert.depth)
    at = 0
    for sentence, size in zip(hay, sizes, strict=True):
        while at < len(waiting) and waiting[at].depth * total < read + size / 2:
            placed.append(waiting[at].sentence)
            at += 1
        placed.append(sentence)
        read += size
    return placed + [insert.sentence for insert in waiting[at:]]


def _needles(draws: Draws, keys: Sequence[str], codes: Sequence[str], depth: float) -> list[Insert]:
    """The first at the depth, the others spread."""
    said = [draws.language.code.format(key=key, code=code) for key, code in zip(keys, codes, strict=True)]
    return [Insert(said[0], depth), *map(Insert, said[1:], draws.depths(len(said) - 1))]


def _other_needles(draws: Draws, count: int) -> list[Insert]:
    said = [draws.language.code.format(key=draws.key(), code=draws.code()) for _ in range(count)]
    return list(map(Insert, said, draws.depths(count)))


def _chain(draws: Draws, value: str, names: Sequence[str], depth: float) -> list[Insert]:
    """The value stands at the depth; each further variable below the one that it has its value from."""
    words = draws.language
    first = words.variable.format(name=names[0], value=value)
    copies = [words.copy.format(name=name, other=other) for other, name in pairwise(names)]
    return [Insert(first, depth), *map(Insert, copies, draws.depths(len(copies), depth))]
