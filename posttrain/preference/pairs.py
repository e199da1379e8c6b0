"""Build preference pairs from the graded responses to one query (paper section 2.4.3). Plain Python, no tensors."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple, TypeVar

from posttrain.grading import Graded
from rewards.contract import Attempt

T = TypeVar("T")

LANGUAGE_REWARD = "language"  # the name of the reward that says whether the answer is in the question's language


@dataclass(frozen=True, slots=True)
class Sample:
    """One response to a query: the ids as they were sampled, what they say, and what the rewards say of it."""

    token_ids: tuple[int, ...]
    attempt: Attempt
    graded: Graded

    @property
    def is_correct(self) -> bool:
        """Right and complete: a response that was cut off is nobody's example."""
        return self.graded.outcome is True and not self.attempt.is_truncated

    @property
    def is_wrong(self) -> bool:
        """Known to be wrong; a response that cannot be judged is not."""
        return self.graded.outcome is False

    @property
    def is_in_language(self) -> bool | None:
        """Whether the answer is in the question's language; None where that cannot be told."""
        verdict = self.graded.verdicts.get(LANGUAGE_REWARD)
        return None if verdict is None or verdict.score is None else verdict.score >= 0.5


class Pair(NamedTuple):
    """Two responses to the same query, as indices of its samples, and why the second was rejected."""

    chosen: int
    rejected: int
    reason: str  # wrong, longer, language or preference


class PairOutcome(NamedTuple):
    """What one query gave.

    Attributes:
        pairs: at most as many as were asked for.
        skip_reason: why there is none: `unscorable`, `no_correct`, `wrong_language` (the right answers are all in
            another language), `identical` (the same tokens were the only candidates) or `nothing_to_teach`.
        num_identical: candidates refused because their tokens are the chosen response's own.
    """

    pairs: tuple[Pair, ...]
    skip_reason: str | None = None
    num_identical: int = 0


def shortest_correct(
    samples: Sequence[Sample],
    *,
    min_correct_share: float,
    min_length_ratio: float,
    pairs_per_query: int,
    seed: int | str,
) -> PairOutcome:
    """Stage 1: the shortest correct response against wrong ones and much longer correct ones.

    A model that is mostly wrong is sometimes right by a lucky short guess, and to prefer that guess costs accuracy.
    So the shortest one is trusted only where at least `min_correct_share` of the responses are correct; elsewhere the
    one of median length (of two, the longer) is chosen, and only wrong ones are rejected.

    Args:
        samples: the responses to one query; those without an outcome are ignored.
        min_correct_share: share of the responses with an outcome.
        min_length_ratio: how many times longer, in tokens, a correct response is to be rejected.
        pairs_per_query: wrong and longer ones are taken in turn, as long as there are both; a coin says which is first.
        seed: of the coin and of the draw among equals.
    """
    rng = random.Random(seed)
    scorable = [index for index, sample in enumerate(samples) if sample.graded.outcome is not None]
    correct = sorted((i for i in scorable if samples[i].is_correct), key=lambda i: len(samples[i].token_ids))
    if not correct:
        return PairOutcome((), "no_correct" if scorable else "unscorable")
    is_trusted = len(correct) / len(scorable) >= min_correct_share
    chosen = correct[0 if is_trusted else len(correct) // 2]
    length = len(samples[chosen].token_ids)
    wrong = [Pair(chosen, i, "wrong") for i in scorable if samples[i].is_wrong]
    longer = [
        Pair(chosen, i, "longer")
        for i in (scorable if is_trusted else [])
        if not samples[i].is_wrong
        and len(samples[i].token_ids) > length
        and len(samples[i].token_ids) / length >= min_length_ratio
    ]
    first, second = _shuffled([_shuffled(wrong, rng), _shuffled(longer, rng)], rng)
    in_turn = [pair for both in zip_longest(first, second) for pair in both if pair is not None]
    return _select(samples, in_turn, pairs_per_query)


def hybrid(samples: Sequence[Sample], *, pairs_per_query: int, seed: int | str) -> PairOutcome:
    """Stage 2: the response of the highest reward in the question's language against the others.

    Rewards see the final answer, so in reasoning mode the preference is judged on it only. A response in another
    language is rejected first (`language`), then a `wrong` one or one of lower reward (`preference`). The chosen one is
    never known to be wrong, cut off or in another language; it is drawn among those of equal reward.

    Args:
        samples: the responses to one query; those without a reward are ignored.
        pairs_per_query: at most this many.
        seed: of the draws.
    """
    rng = random.Random(seed)
    rewards = {i: sample.graded.reward for i, sample in enumerate(samples) if sample.graded.reward is not None}
    right = [i for i in rewards if not samples[i].is_wrong and not samples[i].attempt.is_truncated]
    if not right:
        return PairOutcome((), "no_correct" if rewards else "unscorable")
    in_language = [i for i in right if samples[i].is_in_language]
    eligible = in_language or [i for i in right if samples[i].is_in_language is None]
    if not eligible:
        return PairOutcome((), "wrong_language")
    best = max(rewards[i] for i in eligible)
    chosen = rng.choice([i for i in eligible if rewards[i] == best])
    # An answer too short to tell its language is no example of the right one.
    foreign = [i for i in rewards if in_language and samples[i].is_in_language is False]
    # The nearest counterpart: right like the chosen one, then of its length, so that the pair is about the language.
    length = len(samples[chosen].token_ids)
    foreign.sort(key=lambda i: (samples[i].is_wrong, abs(len(samples[i].token_ids) - length)))
    language = [Pair(chosen, i, "language") for i in foreign]
    other = [
        Pair(chosen, i, "wrong" if samples[i].is_wrong else "preference")
        for i in rewards
        if i not in foreign and (samples[i].is_wrong or rewards[i] < best)
    ]
    return _select(samples, language + _shuffled(other, rng), pairs_per_query)


def _shuffled(items: Sequence[T], rng: random.Random) -> list[T]:
    return rng.sample(items, len(items))


def _select(samples: Sequence[Sample], candidates: Sequence[Pair], limit: int) -> PairOutcome:
    """The first `limit` candidates whose sides differ in tokens, none of them with a rejected response seen before."""
    different = [pair for pair in candidates if samples[pair.rejected].token_ids != samples[pair.chosen].token_ids]
    num_identical = len(candidates) - len(different)
    if not different:
        return PairOutcome((), "identical" if num_identical else "nothing_to_teach", num_identical)
    distinct: dict[tuple[int, ...], Pair] = {}
    for pair in different:
        distinct.setdefault(samples[pair.rejected].token_ids, pair)
    return PairOutcome(tuple(distinct.values())[:limit], None, num_identical)
