"""The two modes of one model and how each is sampled by default (paper section 3.5)."""

from dataclasses import dataclass
from typing import Literal, get_args

Mode = Literal["reasoning", "non_reasoning"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """How one mode is decoded unless a recipe says otherwise."""

    temperature: float
    top_p: float


# Long chains of thought degenerate under greedy decoding; a direct answer has nothing to explore.
SAMPLING_DEFAULTS: dict[Mode, SamplingDefaults] = {
    "reasoning": SamplingDefaults(temperature=0.6, top_p=0.95),
    "non_reasoning": SamplingDefaults(temperature=0.0, top_p=1.0),
}
