"""Put the rows of every source into the order that the recipe's mixer decides."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data_mixers.contract import Source as MixerSource
from data_mixers.plan import MixPlan, plan_of
from data_mixers.stream import Stream
from posttrain.chat import MODES
from posttrain.data.encode import Encoded, encode_rows
from posttrain.data.rows import read_rows
from posttrain.errors import UserError
from posttrain.plugins import build
from posttrain.recipe import MixerSection, Source


class Part(NamedTuple):
    """The rows of one source, mode and domain: what the mixer takes for a source."""

    mode: str
    domain: str | None
    weight: float
    rows: list[Encoded]


class Mixed(NamedTuple):
    """The training stream, what it takes from each part, and the tokens that each mode contributes to it."""

    rows: list[Encoded]
    plan: MixPlan
    trained_tokens: dict[str, int]
    all_tokens: dict[str, int]

    @property
    def ratio(self) -> float:
        """Trained reasoning tokens per trained non-reasoning token; infinite without the latter."""
        reasoning, direct = (self.trained_tokens[mode] for mode in MODES)
        return reasoning / direct if direct else float("inf")


def encode_sources(sources: Sequence[Source], tokenizer: Any, *, max_length: int | None) -> dict[str, Part]:
    """Encoded rows by `source/mode`, or by `source/mode/domain` where a source has several domains in that mode.

    Raises:
        UserError: two sources have the same name, or a file or row is unusable.
    """
    names = [source.name or source.path for source in sources]
    parts: dict[str, Part] = {}
    for index, (name, source) in enumerate(zip(names, sources, strict=True)):
        if name in names[:index]:
            raise UserError(f"data.sources.{index}: two sources are named '{name}'; give one of them another `name`")
        rows = read_rows(source)
        encoded = encode_rows(rows, tokenizer, source=name, max_length=max_length)
        of_group: dict[tuple[str, str | None], list[Encoded]] = {}
        for row, ids in zip(rows, encoded, strict=True):
            of_group.setdefault((row["mode"], row.get("domain")), []).append(ids)
        for (mode, domain), members in of_group.items():
            is_whole_mode = all(domain == other for same, other in of_group if same == mode)
            key = f"{name}/{mode}" if is_whole_mode else f"{name}/{mode}/{domain or 'no domain'}"
            if key in parts:
                raise UserError(
                    f"data.sources.{index}: its rows would be called '{key}', as others are; give it a `name`"
                )
            parts[key] = Part(mode, domain, source.weight, members)
    return parts


def mix(parts: Mapping[str, Part], section: MixerSection, *, seed: int) -> Mixed:
    """The stream that the mixer draws, by trained tokens.

    Raises:
        UserError: the mixer cannot be built, or refuses the sources, or draws what is not there.
    """
    mixer = build(section.use, section.args, "mixer")
    sources = [
        MixerSource(name, part.mode, [row.trained_tokens for row in part.rows], part.weight, part.domain)
        for name, part in parts.items()
    ]
    try:
        stream = Stream.collect(sources, mixer(sources, seed=seed))
    except ValueError as error:
        raise UserError(f"mixer: {error}") from error
    rows = [parts[draw.source].rows[draw.row] for draw in stream]
    plan = plan_of(stream)
    return Mixed(
        rows=rows,
        plan=plan,
        trained_tokens={mode: plan.total(mode).drawn_tokens for mode in MODES},
        all_tokens={mode: sum(len(row.input_ids) for row in rows if MODES[row.mode_id] == mode) for mode in MODES},
    )
