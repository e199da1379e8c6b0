"""A task in a text, as a conversation with exactly the tokens that are asked for."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from posttrain.data.rows import Row
from posttrain.errors import UserError
from posttrain.haystack.draws import Draws, Split
from posttrain.haystack.fitting import fit
from posttrain.haystack.hay import Hay, count_tokens, generated_facts, generated_sentences, listed_words
from posttrain.haystack.languages import LANGUAGES, require_languages
from posttrain.haystack.tasks import TASKS, HayKind, Puzzle, Question, place
from posttrain.haystack.text_files import read_sentences

_TRIES = 16

Count = Callable[[list[Row]], int]


class Cell(NamedTuple):
    """Where a row stands in the grid of what is asked.

    Attributes:
        task: of `TASKS`.
        language: of the needles and the question.
        length: in tokens.
        depth: of what is asked for, 0 to 1; of the first of several questions.
    """

    task: str
    language: str
    length: int
    depth: float


class Written(NamedTuple):
    """A conversation with all its replies, and the questions in it."""

    messages: list[Row]
    questions: list[Question]


class _Text(NamedTuple):
    messages: list[Row]
    hay: str


class Writer:
    """Writes rows of one split.

    Args:
        tokenizer: the model's.
        tasks: that will be written, to be checked.
        languages: the same.
        split: whose draws are used; those of the other one never are.
        seed: same seed and same number, same row.
        text: a file, folder or glob whose text takes the place of generated sentences.
        num_needles: in a text, where a task has several.

    Raises:
        ValueError: there is no such task or language, or fewer than two needles.
        UserError: the text cannot be read.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        tasks: Sequence[str],
        languages: Sequence[str],
        split: Split,
        seed: int,
        text: str | None,
        num_needles: int,
    ) -> None:
        if not tasks or not set(tasks) <= set(TASKS):
            raise ValueError(f"got tasks {list(tasks)}; need some of {', '.join(TASKS)}")
        require_languages(languages)
        if num_needles < 2:
            raise ValueError(f"got num_needles {num_needles}; need 2 or more")
        self._tokenizer = tokenizer
        self._split: Split = split
        self._seed = seed
        self._num_needles = num_needles
        self._made: dict[tuple[HayKind, str], Hay] = {}
        self._of_user = None
        if text is not None:
            sentences = read_sentences(text)
            self._of_user = Hay(sentences, count_tokens(tokenizer, sentences), is_in_order=True)

    def write(self, cell: Cell, number: int, count: Count, *, questions: int = 1) -> Written:
        """A conversation about a text.

        Args:
            cell: what it is to be.
            number: tells it from others of its cell.
            count: the tokens of the conversation: these are `cell.length`.
            questions: asked one after the other, about depths that lie evenly, in a random order behind the first.

        Raises:
            UserError: there is no room for it, or no text of that length, or the text has what is hidden already.
        """
        for attempt in range(_TRIES):
            rng = random.Random(f"{self._split} {self._seed} {cell} {number} {attempt}")
            draws = Draws(rng, LANGUAGES[cell.language], self._split)
            puzzle = self._puzzle(draws, cell, _spread(cell.depth, questions, rng))
            messages, hay = self._hide(puzzle, cell, rng.random(), count)
            if not any(value in hay for value in draws.drawn):
                return Written(messages, puzzle.questions)
        raise UserError(
            f"{cell.task} ({cell.language}): the text has such needles already, after {_TRIES} tries with others; "
            "need another text"
        )

    def _puzzle(self, draws: Draws, cell: Cell, depths: Sequence[float]) -> Puzzle:
        rounds = math.ceil(cell.length / self._hay("words", cell.language).num_tokens)
        return TASKS[cell.task](draws, depths, self._num_needles, rounds)

    def _hide(self, puzzle: Puzzle, cell: Cell, seed: float, count: Count) -> _Text:
        hay = self._hay(puzzle.hay, cell.language)
        if puzzle.unwanted:
            hay = hay.without(puzzle.unwanted)

        def write(num_tokens: int, padding: str) -> _Text:
            drawn = hay.draw(random.Random(seed), num_tokens)
            sentences = place(drawn, [hay.num_tokens_of(sentence) for sentence in drawn], puzzle.inserts)
            return _Text(_conversation(" ".join(sentences) + padding, puzzle.questions), " ".join(drawn))

        return fit(write, lambda text: count(text.messages), cell.length, f"{cell.task} ({cell.language})")

    def _hay(self, kind: HayKind, language: str) -> Hay:
        """The hay of a kind, whose tokens are counted once."""
        if kind == "sentences" and self._of_user:
            return self._of_user
        if (kind, language) not in self._made:
            words, rng = LANGUAGES[language], random.Random(f"{self._split} {self._seed} {kind} {language}")
            make = {"sentences": generated_sentences, "facts": generated_facts, "words": listed_words}[kind]
            sentences = make(words, rng)
            self._made[kind, language] = Hay(sentences, count_tokens(self._tokenizer, sentences))
        return self._made[kind, language]


def _spread(depth: float, count: int, rng: random.Random) -> list[float]:
    """So many depths at equal distances, beginning again at 0 behind 1; the first is the given one."""
    steps = rng.sample(range(1, count), count - 1)
    return [depth, *((depth + step / count) % 1 for step in steps)]


def _conversation(text: str, questions: Sequence[Question]) -> list[Row]:
    """The first question stands below the text, further ones stand alone."""
    messages: list[Row] = []
    for question in questions:
        asked = question.text if messages else f"{text}\n\n{question.text}"
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": question.reply}]
    return messages
