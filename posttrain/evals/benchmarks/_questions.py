"""Rows of files and data sets that have a question in one column and its gold in another, as questions in words."""

import string
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from posttrain.data.rows import Row, raw_records, source_files
from posttrain.data.shapes import to_messages
from posttrain.data.unusable import RowError
from posttrain.errors import UserError
from posttrain.evals.benchmark import Benchmark
from posttrain.recipe import RewardSpec, Source, parse_hub_path

# What a grader looks for, said in the question's language.
BOXED = {
    "en": "Put the final answer in \\boxed{}.",
    "ko": "최종 답을 \\boxed{} 안에 쓰세요.",
    "es": "Escribe la respuesta final en \\boxed{}.",
}
LETTER = {
    "en": "Put the letter of the right option in \\boxed{}.",
    "ko": "맞는 보기의 기호를 \\boxed{} 안에 쓰세요.",
    "es": "Escribe la letra de la opción correcta en \\boxed{}.",
}


class Place(NamedTuple):
    """A row as it was read, and where it stands."""

    name: str
    row: Row

    def text(self, *columns: str) -> str:
        """The first of these columns that has text, or a number, which is written as text.

        Raises:
            UserError: none has.
        """
        values = [str(value) for column in columns if isinstance(value := self.row.get(column), str | int | float)]
        text = next((value for value in values if value.strip()), None)
        if text is None:
            wanted = " or ".join(f"`{column}`" for column in columns)
            raise UserError(f"{self.name}: no text under {wanted} (found columns {sorted(self.row)})")
        return text

    def texts(self, column: str) -> list[str]:
        """The texts of a list or of a mapping.

        Raises:
            UserError: it is neither, or empty.
        """
        value = self.row.get(column)
        values = list(value.values()) if isinstance(value, dict) else value
        if not isinstance(values, list) or not values:
            raise UserError(f"{self.name}: no list under `{column}` (found columns {sorted(self.row)})")
        return list(map(str, values))


def read(source: Source, limit: int | None = None) -> Iterator[Place]:
    """The rows of a source, at most `limit`, in the shapes that all stages read; `messages` are not needed.

    Raises:
        UserError: a file is missing or cannot be read, or a line is no JSON object.
    """
    for file, line, row in islice(raw_records(source), limit):
        place = f"{file}:{line}"
        if not isinstance(row, dict):
            raise UserError(f"{place}: {row if isinstance(row, RowError) else 'not a JSON object'}")
        try:
            yield Place(place, to_messages(row)[0])
        except RowError as problem:
            raise UserError(f"{place}: {problem}") from problem


def pinned(name: str, revision: str, config: str | None, split: str) -> Source:
    """A data set of the hub at one commit.

    Raises:
        UserError: what is given may be another one tomorrow.
    """
    path = f"hub:{name}@{revision}"
    parse_hub_path(path)
    return Source(path=path, config=config, split=split)


def user(text: str) -> list[Row]:
    """A conversation that begins with this question."""
    return [{"role": "user", "content": text}]


def in_language(words: Mapping[str, str], language: Any) -> str:
    """In the row's language where it is there, else in English."""
    return words.get(str(language), words["en"])


def with_options(question: str, options: Sequence[str], language: Any = None) -> str:
    """A question with its options, A first, and the request for a letter."""
    lettered = [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False)]
    return "\n".join([question.rstrip(), "", *lettered, "", in_language(LETTER, language)])


def boxed(question: str, language: Any = None) -> str:
    """A question with the request for a box around its answer."""
    return f"{question.rstrip()}\n\n{in_language(BOXED, language)}"


def benchmark(rows: Sequence[Row], source: Source, *uses: str, cells: Sequence[str] = ()) -> Benchmark:
    """A benchmark of rows that were read from `source`, graded by these rewards."""
    return Benchmark(rows, [RewardSpec(use=use) for use in uses], source_files([source]), cells)
