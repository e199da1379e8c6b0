"""What several samples of a question say together: pass@k and the answer of the majority."""

from collections import Counter
from collections.abc import Sequence
from math import comb
from typing import NamedTuple


class Vote(NamedTuple):
    """One sample: is it right, and what it answered; None where no answer could be read."""

    is_right: bool
    answer: str | None


def pass_at_k(num_samples: int, num_right: int, k: int) -> float:
    """The probability that at least one of k samples is right, without bias (Chen et al. 2021, arXiv 2107.03374).

    It is the share of all sets of k that can be drawn from the samples and hold a right one. One minus the k-th power
    of the share of wrong ones would be too low.

    Args:
        num_samples: samples of the question, at least k.
        num_right: those of them that are right.
        k: at least 1.

    Raises:
        ValueError: the numbers do not fit together.
    """
    if not (1 <= k <= num_samples and 0 <= num_right <= num_samples):
        raise ValueError(f"got {num_right} right of {num_samples} samples and k={k}; need 1 <= k <= samples >= right")
    return 1 - comb(num_samples - num_right, k) / comb(num_samples, k)


def numbers_of_tries(num_samples: int) -> list[int]:
    """The k of pass@k that are shown: powers of two, and the number of samples itself."""
    powers = [2**exponent for exponent in range(num_samples.bit_length())]
    return sorted({*powers, num_samples}) if num_samples else []


def majority_at_n(votes: Sequence[Vote]) -> float | None:
    """Whether the answer that most samples give is right: 1 or 0, between them where answers tie and differ in that.

    Samples without an answer do not vote; where none votes, the question is wrong. Answers are the same when they are
    the same text but for case and white space: what was extracted, not what it means.

    Returns:
        None where a right sample has no extracted answer, as with code: there is nothing to vote on.
    """
    if any(vote.is_right and vote.answer is None for vote in votes):
        return None
    counts = Counter(_normal(vote.answer) for vote in votes if vote.answer is not None)
    if not counts:
        return 0.0
    most = max(counts.values())
    right = {_normal(vote.answer) for vote in votes if vote.is_right and vote.answer is not None}
    winners = [answer for answer, count in counts.items() if count == most]
    return sum(answer in right for answer in winners) / len(winners)


def _normal(answer: str) -> str:
    return " ".join(answer.split()).casefold()
