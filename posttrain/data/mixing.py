"""Put the rows of every source into the order that the recipe's mixer decides."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_mixers.contract import Source as MixerSource
from data_mixers.plan import MixPlan, plan_of
from data_mixers.stream import Stream
from posttrain.chat import MODES
from posttrain.data.encode import Encoded
from posttrain.data.intake import Intake
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
    stream: Stream  # the part that each of them is drawn from
    plan: MixPlan
    trained_tokens: dict[str, int]
    all_tokens: dict[str, int]

    @property
    def ratio(self) -> float:
        """Trained reasoning tokens per trained non-reasoning token; infinite without the latter."""
        reasoning, direct = (self.trained_tokens[mode] for mode in MODES)
        return reasoning / direct if direct else float("inf")


def parts_of(intakes: Sequence[Intake], sources: Sequence[Source]) -> dict[str, Part]:
    """The rows by `source/mode`, or by `source/mode/domain` where a source has several domains in that mode.

    Args:
        intakes: what was read of each source.
        sources: the same sources in the recipe, for their weights.

    Raises:
        UserError: two parts would have the same name.
    """
    parts: dict[str, Part] = {}
    for index, (intake, source) in enumerate(zip(intakes, sources, strict=True)):
        of_group: dict[tuple[str, str | None], list[Encoded]] = {}
        for row in intake.rows:
            of_group.setdefault((MODES[row.mode_id], row.domain), []).append(row)
        for (mode, domain), members in of_group.items():
            is_whole_mode = all(domain == other for same, other in of_group if same == mode)
            key = f"{intake.name}/{mode}" if is_whole_mode else f"{intake.name}/{mode}/{domain or 'no domain'}"
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
        stream=stream,
        plan=plan,
        trained_tokens={mode: plan.total(mode).drawn_tokens for mode in MODES},
        all_tokens={mode: sum(len(row.input_ids) for row in rows if MODES[row.mode_id] == mode) for mode in MODES},
    )
