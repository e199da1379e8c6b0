"""Pass rates of prompts, which of them to keep (paper section 2.4.2), and their histogram. Plain Python."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from posttrain.recipe import KeepSection


@dataclass(frozen=True, slots=True)
class PassRates:
    """A set of prompts in numbers.

    Attributes:
        prompts: prompts that were sampled.
        kept: those of them that are kept, the unscorable ones included.
        dropped: the others.
        unscorable: prompts without a response that could be judged.
        share_kept: of all prompts.
        mean_pass_rate: over the prompts that could be judged; None where there is none.
        histogram: prompts by pass rate, "0/8" to "8/8"; the unscorable ones are in no bin.
        histogram_kept: the same of the prompts that are kept.
    """

    prompts: int
    kept: int
    dropped: int
    unscorable: int
    share_kept: float
    mean_pass_rate: float | None
    histogram: dict[str, int]
    histogram_kept: dict[str, int]


def pass_rate(outcomes: Sequence[bool | None]) -> float | None:
    """The share of right responses among those that could be judged; None where none could."""
    judged = [outcome for outcome in outcomes if outcome is not None]
    return sum(judged) / len(judged) if judged else None


def is_kept(rate: float | None, keep: KeepSection) -> bool:
    """Whether a prompt of this pass rate is kept. One that could not be judged is: nothing says that it is too easy."""
    if rate is None:
        return True
    is_above = keep.pass_rate_above is None or rate > keep.pass_rate_above
    is_below = keep.pass_rate_below is None or rate < keep.pass_rate_below
    return is_above and is_below


def histogram(rates: Iterable[float | None], num_samples: int) -> dict[str, int]:
    """Counts of pass rates by the nearest k/num_samples, every k from 0 up.

    A rate of fewer judged responses lies between two bins; only 0 and 1 themselves count in the first and last one.
    """
    nearest = Counter(round(rate * num_samples) for rate in rates if rate is not None)
    return {f"{right}/{num_samples}": nearest[right] for right in range(num_samples + 1)}


def sum_up(rates: Sequence[float | None], keep: KeepSection, num_samples: int) -> PassRates:
    """Sum up the pass rates of at least one prompt, each of `num_samples` responses."""
    judged = [rate for rate in rates if rate is not None]
    kept = [rate for rate in rates if is_kept(rate, keep)]
    return PassRates(
        prompts=len(rates),
        kept=len(kept),
        dropped=len(rates) - len(kept),
        unscorable=len(rates) - len(judged),
        share_kept=len(kept) / len(rates),
        mean_pass_rate=fmean(judged) if judged else None,
        histogram=histogram(rates, num_samples),
        histogram_kept=histogram(kept, num_samples),
    )
