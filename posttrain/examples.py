"""Rows and prompts as the model will see them, for `posttrain check RECIPE --show N`.

What is trained is green and the rest dim; where there are no colours, as in a log or with NO_COLOR, what is trained
stands between ⟦ and ⟧. Special tokens are written out, in bold, and a newline is ↵ as well.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, zip_longest
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rich.console import Console
from rich.text import Text

from posttrain.chat import MODES
from posttrain.data.mixing import Mixed
from posttrain.data.rows import Row

T = TypeVar("T")
# Control characters are shown as their pictures: a row must not be able to move the cursor.
VISIBLE = {code: 0x2400 + code for code in range(32)} | {0x0A: "↵\n", 0x7F: "␡"}


class Run(NamedTuple):
    """Neighbouring tokens of one kind as text; special ones were added to the vocabulary, as tags often are."""

    text: str
    is_trained: bool
    is_special: bool


class Example(NamedTuple):
    """One row or prompt: what it is, and what the model sees of it."""

    heading: str
    runs: list[Run]

    @classmethod
    def of_tokens(
        cls, tokenizer: Any, heading: Sequence[str | None], ids: Sequence[int], trained: Sequence[bool]
    ) -> "Example":
        """Read from the token ids themselves, not from the text that they were made of."""
        special = set(tokenizer.added_tokens_decoder)
        kinds = groupby(zip(ids, trained, strict=True), key=lambda pair: (pair[1], pair[0] in special))
        runs = [
            Run(tokenizer.decode([token for token, _ in pairs], clean_up_tokenization_spaces=False), *kind)
            for kind, pairs in kinds
        ]
        return cls(" · ".join(part or "no domain" for part in heading), runs)

    def as_text(self, *, in_colour: bool) -> Text:
        """For a console; nothing in it is markup."""
        has_trained = any(run.is_trained for run in self.runs)
        text = Text(no_wrap=True, overflow="ignore")
        text.append(self.heading + "\n", "bold")
        for is_trained, runs in groupby(self.runs, key=lambda run: run.is_trained):
            text.append("⟦" if is_trained and not in_colour else "")
            for run in runs:
                colour = "green" if is_trained else "dim" if has_trained else ""
                text.append(run.text.translate(VISIBLE), f"{colour} bold".strip() if run.is_special else colour)
            text.append("⟧" if is_trained and not in_colour else "")
        if text.plain.endswith("\n"):
            text.right_crop(1)  # the console ends the line
        return text


def show(examples: Iterable[Example], console: Console) -> None:
    """Print each after the other, in the console's colours if it has any."""
    in_colour = console.color_system is not None and not console.no_color
    for example in examples:
        console.print()
        console.print(example.as_text(in_colour=in_colour), soft_wrap=True)


def rows_of_mix(mixed: Mixed, tokenizer: Any) -> Iterator[Example]:
    """The rows that are trained first: of one mode and the other in turn, and in each mode of its sources in turn."""
    of_mode: dict[str, list[Iterator[int]]] = {mode: [] for mode in MODES}
    for index, source in enumerate(mixed.stream.sources):
        draws = np.flatnonzero(mixed.stream.source_ids == index)
        of_mode[source.mode].append(map(int, draws))
    for draw in in_turn(in_turn(sources) for sources in of_mode.values()):
        row, part = mixed.rows[draw], mixed.stream[draw].source
        mode = MODES[row.mode_id]
        trained = [label == token for label, token in zip(row.labels, row.input_ids, strict=True)]
        tokens = f"{sum(trained):,} of {len(trained):,} tokens trained"
        heading = (f"row {draw + 1}", part.rpartition(f"/{mode}")[0], mode, row.domain, tokens)
        yield Example.of_tokens(tokenizer, heading, row.input_ids, trained)


def prompts_in_turn(
    asked: Iterable[tuple[int, Row]], encode: Callable[[Row], list[int]], tokenizer: Any
) -> Iterator[Example]:
    """The prompts of numbered rows: of one mode and domain and of the next in turn."""
    groups: dict[tuple[str, str | None], list[tuple[int, Row]]] = {}
    for number, row in asked:
        groups.setdefault((row["mode"], row.get("domain")), []).append((number, row))
    for number, row in in_turn(groups.values()):
        ids = encode(row)
        heading = (f"prompt of row {number}", row["mode"], row.get("domain"), f"{len(ids):,} tokens")
        yield Example.of_tokens(tokenizer, heading, ids, [False] * len(ids))


def in_turn(groups: Iterable[Iterable[T]]) -> Iterator[T]:
    """The first of every group, then the second of every group that has one, and so on."""
    missing = object()
    for turn in zip_longest(*groups, fillvalue=missing):
        yield from (each for each in turn if each is not missing)  # type: ignore[misc]
