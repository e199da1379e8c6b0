"""Put the rows of every source into the order that the recipe's mixer decides."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from data_mixers.contract import Source as MixerSource
from posttrain.chat import MODES
from posttrain.data.encode import Encoded
from posttrain.data.intake import Intake
from posttrain.errors import UserError
from posttrain.plugins import build
from posttrain.recipe import MixerSection, Source


class Mixed(NamedTuple):
    """The training stream, and the tokens that each mode contributes to it."""

    rows: list[Encoded]
    trained_tokens: dict[str, int]
    all_tokens: dict[str, int]

    @property
    def ratio(self) -> float:
        """Trained reasoning tokens per trained non-reasoning token; infinite without the latter."""
        reasoning, direct = (self.trained_tokens[mode] for mode in MODES)
        return reasoning / direct if direct else float("inf")


def by_mode(intakes: Sequence[Intake]) -> dict[str, list[Encoded]]:
    """Encoded rows by `source/mode`: a source that holds both modes becomes two sources of the mixer."""
    encoded: dict[str, list[Encoded]] = defaultdict(list)
    for intake in intakes:
        for row in intake.rows:
            encoded[f"{intake.name}/{MODES[row.mode_id]}"].append(row)
    return dict(encoded)


def mix(encoded: dict[str, list[Encoded]], sources: Sequence[Source], section: MixerSection, *, seed: int) -> Mixed:
    """The stream that the mixer draws, by trained tokens.

    Raises:
        UserError: the mixer cannot be built, or refuses the sources.
    """
    weights = {source.name or source.path: source.weight for source in sources}
    mixer = build(section.use, section.args, "mixer")
    mixer_sources = [
        MixerSource(
            name=key,
            mode=key.rpartition("/")[2],
            token_counts=[row.trained_tokens for row in rows],
            weight=weights[key.rpartition("/")[0]],
        )
        for key, rows in encoded.items()
    ]
    try:
        stream = [encoded[draw.source][draw.row] for draw in mixer(mixer_sources, seed=seed)]
    except ValueError as error:
        raise UserError(f"mixer: {error}") from error
    return Mixed(
        rows=stream,
        trained_tokens={
            mode: sum(row.trained_tokens for row in stream if MODES[row.mode_id] == mode) for mode in MODES
        },
        all_tokens={mode: sum(len(row.input_ids) for row in stream if MODES[row.mode_id] == mode) for mode in MODES},
    )
