"""Two ways of answering the same questions: how far apart they are, and whether that can be told from chance.

Comparing two intervals would throw away that the questions are the same: most of the spread is that between questions,
which both sides share. Values are one sequence per question, the same questions on both sides.
"""

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np

from posttrain.evals.intervals import ByQuestion, Interval

RESAMPLES = 10_000
SIGNIFICANCE = 0.05


class Comparison(NamedTuple):
    """The second side against the first.

    Attributes:
        num_questions: that both sides answered.
        first: share of right answers, questions weighing the same.
        second: the same of the second side.
        difference: second minus first, with its 95 % interval over questions.
        p_value: how often chance alone gives such a difference, if there were none.
        method: how that was found.
        only_first: questions at which the first side is better.
        only_second: those at which the second is.
    """

    num_questions: int
    first: float
    second: float
    difference: Interval
    p_value: float
    method: str
    only_first: int
    only_second: int

    @property
    def is_clear(self) -> bool:
        """Whether chance alone would rarely do this."""
        return self.p_value < SIGNIFICANCE

    def verdict(self, first: str, second: str) -> str:
        """In words, with the names of the two sides."""
        asked = f"{self.num_questions:,} question{'s' * (self.num_questions != 1)}"
        if not self.only_first and not self.only_second:
            return f"{first} and {second} do equally well at each of {asked}"
        mean, low, high = self.difference
        basis = f"{asked}, p {_p_value(self.p_value)}, {self.method}"
        if not self.is_clear:
            return (
                f"{first} and {second} cannot be told apart: the difference of {_points(mean)} points "
                f"[{_points(low)}, {_points(high)}] may be chance ({basis})"
            )
        if mean > 0:
            return (
                f"{second} is better than {first} by {_points(mean)} points [{_points(low)}, {_points(high)}] ({basis})"
            )
        return (
            f"{first} is better than {second} by {_points(-mean)} points [{_points(-high)}, {_points(-low)}] ({basis})"
        )


def compare(first: ByQuestion, second: ByQuestion, *, seed: int = 0) -> Comparison:
    """Compare two sides on the same questions.

    With one answer to each question on both sides the p-value is that of McNemar's exact test. Else a question is its
    mean on each side, and the p-value that of a permutation test: the two sides of each question are swapped at random.
    The interval is that of a bootstrap over questions in both cases.

    Args:
        first: 0 to 1, one or more per question; at least one question.
        second: the same questions in the same order.
        seed: for the draws; same seed, same numbers.

    Raises:
        ValueError: the numbers of questions differ, or there is none.
    """
    if len(first) != len(second) or not first:
        raise ValueError(
            f"got {len(first)} and {len(second)} questions; need the same ones on both sides, at least one"
        )
    means_first, means_second = (np.array([float(np.mean(of_one)) for of_one in side]) for side in (first, second))
    differences = means_second - means_first
    only_first, only_second = int((differences < 0).sum()), int((differences > 0).sum())
    is_single = all(len(of_one) == 1 for side in (first, second) for of_one in side)
    random = np.random.default_rng(seed)
    return Comparison(
        num_questions=len(differences),
        first=float(means_first.mean()),
        second=float(means_second.mean()),
        difference=bootstrap_interval(differences, random),
        p_value=mcnemar_exact(only_first, only_second) if is_single else permutation_test(differences, random),
        method="McNemar's exact test" if is_single else "permutation test over questions",
        only_first=only_first,
        only_second=only_second,
    )


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """The two-sided p-value of McNemar's exact test: are the questions that differ split like coin flips?

    Args:
        only_first: questions that the first side alone has right.
        only_second: questions that the second side alone has right.
    """
    num_different = only_first + only_second
    tail = sum(comb(num_different, count) for count in range(min(only_first, only_second) + 1))
    return min(1.0, float(2 * tail / 2**num_different))


def permutation_test(differences: Sequence[float] | np.ndarray, random: np.random.Generator) -> float:
    """The two-sided p-value of a mean difference: how often random signs give one at least as large.

    Args:
        differences: one per question.
        random: draws the signs; one draw is the observed one, so the value is never 0.
    """
    values = np.asarray(differences, dtype=float)
    values = values[values != 0]
    if not len(values):
        return 1.0
    observed, reached = abs(values.sum()) * (1 - 1e-12), 1
    for size in _batches(RESAMPLES, len(values)):
        signs = random.integers(0, 2, (size, len(values)), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ values) >= observed).sum())
    return reached / (RESAMPLES + 1)


def bootstrap_interval(values: Sequence[float] | np.ndarray, random: np.random.Generator) -> Interval:
    """A mean over questions, and the middle 95 % of the means of as many questions drawn with replacement.

    Args:
        values: one per question, at least one.
        random: draws the questions.
    """
    known = np.asarray(values, dtype=float)
    means = np.concatenate(
        [
            known[random.integers(0, len(known), (size, len(known)))].mean(axis=1)
            for size in _batches(RESAMPLES, len(known))
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(known.mean()), float(low), float(high))


def _batches(total: int, width: int) -> list[int]:
    """`total` in pieces that take little memory at `width` numbers each."""
    size = max(1, min(total, 5_000_000 // width))
    return [min(size, total - start) for start in range(0, total, size)]


def _points(share: float) -> str:
    """Percentage points with a true minus."""
    return f"{100 * share:.1f}".replace("-0.0", "0.0").replace("-", "−")


def _p_value(p_value: float) -> str:
    return f"= {p_value:.3f}" if p_value >= 0.001 else "< 0.001"
