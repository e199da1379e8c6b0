"""A mean and its 95 % interval over questions.

Several samples of one question are not independent: they are averaged first, and the spread is that between questions.
Values come as one sequence per question.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Z = 1.959964  # half of a standard normal's 95 % lies below it, on either side of 0
ByQuestion = Sequence[Sequence[float]]


class Interval(NamedTuple):
    """A mean, and the bounds within which the true one lies in 95 of 100 such evaluations."""

    mean: float
    low: float
    high: float


def share_interval(values: ByQuestion) -> Interval:
    """The interval of a share: Wilson's, which stays in [0, 1] and is not empty at 0 and 1.

    With one sample a question it is the textbook formula. With several, the number of answers in it is an effective
    one: as many independent answers as would spread as the question means do, at least one and at most all the
    samples of each question.

    Args:
        values: 0 to 1, one or more per question; at least one question.
    """
    means = _question_means(values)
    mean = float(means.mean())
    spread = float(means.var())
    num_answers = sum(map(len, values))
    # Means of shares spread at most as single answers do, so these are as many as there are questions, or more.
    effective = len(means) * mean * (1 - mean) / spread if spread > 0 else num_answers if 0 < mean < 1 else len(means)
    n = min(effective, num_answers)
    center = (mean + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * float(np.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2)))
    return Interval(mean, min(max(center - half, 0.0), mean), max(min(center + half, 1.0), mean))


def count_interval(values: ByQuestion) -> Interval:
    """The interval of a mean count (tokens): normal, from the sample standard deviation; never below 0.

    One question shows no spread: low and high are then the mean itself.

    Args:
        values: 0 or more, one or more per question; at least one question.
    """
    means = _question_means(values)
    mean = float(means.mean())
    half = Z * float(means.std(ddof=1)) / float(np.sqrt(len(means))) if len(means) > 1 else 0.0
    return Interval(mean, max(mean - half, 0.0), mean + half)


def _question_means(values: ByQuestion) -> NDArray[np.float64]:
    return np.array([float(np.mean(of_one)) for of_one in values])
