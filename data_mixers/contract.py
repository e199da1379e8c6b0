"""What a mixer gets and gives: names and token counts in, a stream of rows out. It never sees text.

That keeps a mixer small and its tests arithmetic: shares, coverage, determinism. It also keeps resuming simple. A mixer
has no state outside of its stream, and the stream depends on its arguments alone; so the position in the data is one
number, the draws made so far, and `itertools.islice(mixer(sources, seed=seed), draws_made, None)` continues.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A data set as the mixer sees it: the rows of one file, mode and domain.

    Attributes:
        name: Unique among the sources; it also seeds the order of the rows, so a new name is a new order.
        mode: "reasoning" or "non_reasoning".
        token_counts: For each row, the tokens that are trained on (those that bear loss, unless you count otherwise).
        weight: How much of the source is taken, compared with the other sources of its group; see the mixer.
        domain: "math", "code", ...; None where the rows name none.
    """

    name: str
    mode: str
    token_counts: Sequence[int] | npt.NDArray[np.integer[Any]]
    weight: float = 1.0
    domain: str | None = None


class Draw(NamedTuple):
    """The next row to train on: row `row`, counted from 0, of the source named `source`."""

    source: str
    row: int


class Mixer(Protocol):
    """A callable that turns sources into a stream of rows; the same sources and seed give the same stream."""

    def __call__(self, sources: Sequence[Source], *, seed: int) -> Iterable[Draw]:
        """The rows in the order in which they are trained, until the mixer decides that the data is used up.

        Raises:
            ValueError: The sources do not fit the mixer's settings.
        """
        ...
