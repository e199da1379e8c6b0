"""Put the rows of every source into the order that the recipe's mixer decides."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from data_mixers.contract import Source as MixerSource
from data_mixers.plan import MixPlan, plan_of
from data_mixers.stream import Indices, Stream
from posttrain.chat import MODES
from posttrain.data.encode import Encoded
from posttrain.data.encoded_file import EncodedRows
from posttrain.data.intake import Intake
from posttrain.errors import UserError
from posttrain.plugins import build
from posttrain.recipe import MixerSection, Source

MAX_WEIGHTS = 16  # different ones of the rows of a source: each makes a part, and the mixer balances parts


class Part(NamedTuple):
    """The rows of one source, mode, domain and weight: what the mixer takes for a source."""

    mode: str
    domain: str | None
    weight: float  # the source's times the rows' own
    rows: EncodedRows


class Drawn(Sequence[Encoded]):
    """The rows in the order in which they are drawn, each read when it is asked for: 8 bytes a draw.

    Attributes:
        source_ids: per draw, the index of its source.

    Args:
        rows: of each source.
        source_ids: per draw, the index of its source in `rows`.
        places: per draw, the index of the row among those of its source.
    """

    def __init__(self, rows: Sequence[EncodedRows], source_ids: Indices, places: Indices) -> None:
        self._rows = rows
        self.source_ids = source_ids
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> "Drawn": ...
    def __getitem__(self, index: int | slice) -> "Encoded | Drawn":
        if isinstance(index, slice):
            return Drawn(self._rows, self.source_ids[index], self._places[index])
        return self._rows[int(self.source_ids[index])][int(self._places[index])]

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers, as of `EncodedRows`: one for each draw, without reading any row."""
        firsts = np.cumsum([0, *(len(rows) for rows in self._rows)])
        of_all: npt.NDArray[Any] = np.concatenate([rows.numbers(name) for rows in self._rows])
        return of_all[firsts[self.source_ids] + self._places]

    @cached_property
    def num_tokens(self) -> npt.NDArray[np.int32]:
        """The tokens of each row, by draw."""
        return self.numbers("num_tokens")


def all_rows(intakes: Sequence[Intake]) -> Drawn:
    """Every row of every source, in their order."""
    rows = [intake.rows for intake in intakes]
    sizes = [len(each) for each in rows]
    return Drawn(rows, np.repeat(np.arange(len(rows), dtype=np.int32), sizes), _counting_up(sizes))


def _counting_up(sizes: Sequence[int]) -> Indices:
    return np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])


class Mixed(NamedTuple):
    """The training stream, what it takes from each part, and the tokens that each mode contributes to it."""

    rows: Drawn
    stream: Stream  # the part that each of them is drawn from
    plan: MixPlan
    trained_tokens: dict[str, int]
    all_tokens: dict[str, int]

    @property
    def num_tokens(self) -> npt.NDArray[np.int32]:
        """The tokens of each row, by draw."""
        return self.rows.num_tokens

    @property
    def ratio(self) -> float:
        """Trained reasoning tokens per trained non-reasoning token; infinite without the latter."""
        reasoning, direct = (self.trained_tokens[mode] for mode in MODES)
        return reasoning / direct if direct else float("inf")


def parts_of(intakes: Sequence[Intake], sources: Sequence[Source]) -> dict[str, Part]:
    """The rows by `source/mode`, or by `source/mode/domain` where a source has several domains in that mode.

    Rows with a weight of their own are a part apart: `source/mode x2`.

    Args:
        intakes: what was read of each source.
        sources: the same sources in the recipe, for their weights.

    Raises:
        UserError: two parts would have the same name, or the rows of a source have too many different weights.
    """
    parts: dict[str, Part] = {}
    for index, (intake, source) in enumerate(zip(intakes, sources, strict=True)):
        _require_few_weights(intake)
        of_group = intake.rows.by_mode_and_domain()
        for (mode, domain), members in of_group.items():
            is_whole_mode = all(domain == other for same, other in of_group if same == mode)
            group = f"{intake.name}/{mode}" if is_whole_mode else f"{intake.name}/{mode}/{domain or 'no domain'}"
            for weight, rows in members.by_weight().items():
                key = group if weight == 1 else f"{group} x{str(weight).removesuffix('.0')}"
                if key in parts:
                    raise UserError(
                        f"data.sources.{index}: its rows would be called '{key}', as others are; give it a `name`"
                    )
                parts[key] = Part(mode, domain, source.weight * weight, rows)
    return parts


def _require_few_weights(intake: Intake) -> None:
    weights = np.unique(intake.rows.numbers("weight"))
    if len(weights) > MAX_WEIGHTS:
        raise UserError(
            f"the rows of data source '{intake.name}' have {len(weights):,} different weights, from {weights[0]:g} to "
            f"{weights[-1]:g}; {MAX_WEIGHTS} are possible, so round them, or put the rows into files of their own, as "
            "sources with a `weight`"
        )


def mix(parts: Mapping[str, Part], section: MixerSection, *, seed: int) -> Mixed:
    """The stream that the mixer draws, by trained tokens.

    Raises:
        UserError: the mixer cannot be built, or refuses the sources, or draws what is not there.
    """
    mixer = build(section.use, section.args, "mixer")
    sources = [
        MixerSource(name, part.mode, part.rows.numbers("trained_tokens"), part.weight, part.domain)
        for name, part in parts.items()
    ]
    try:
        stream = Stream.collect(sources, mixer(sources, seed=seed))
    except ValueError as error:
        raise UserError(f"mixer: {error}") from error
    rows = Drawn([part.rows for part in parts.values()], stream.source_ids, stream.rows)
    plan = plan_of(stream)
    tokens_of = np.bincount(rows.numbers("mode_id"), weights=rows.num_tokens, minlength=len(MODES))
    return Mixed(
        rows=rows,
        stream=stream,
        plan=plan,
        trained_tokens={mode: plan.total(mode).drawn_tokens for mode in MODES},
        all_tokens={mode: int(tokens) for mode, tokens in zip(MODES, tokens_of, strict=True)},
    )
