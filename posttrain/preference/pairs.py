"""Build preference pairs from the graded responses to one query (paper section 2.4.3). Plain Python, no tensors."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple, TypeVar

from posttrain.grading import Graded
from posttrain.recipe import RejectedDraw, RejectedOrder
from rewards._normal import normal
from rewards.contract import Attempt

T = TypeVar("T")

LANGUAGE_REWARD = "language"  # the name of the reward that says whether the answer is in the question's language


@dataclass(frozen=True, slots=True)
class Sample:
    """One response to a query: the ids as they were sampled, what they say, and what the rewards say of it.

    `num_untrained` of the ids, from the first on, bear no loss: the thinking, where it is not to be trained.
    """

    token_ids: tuple[int, ...]
    attempt: Attempt
    graded: Graded
    num_untrained: int = 0

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

    @property
    def trained_text(self) -> str:
        """What is trained of it, up to white space, case and the form of characters."""
        thinking = "" if self.num_untrained else self.attempt.thinking or ""
        return normal(f"{thinking}\n{self.attempt.answer}")


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
            another language), `refused` (all candidates were), `one_response` or `nothing_to_teach`.
        refused: candidates that would teach nothing or the opposite: `same_tokens`, `same_text` (what is trained of
            both sides differs in white space, case or the form of characters alone), `untrained` (a side of which
            nothing is trained), `chosen_longer`, `chosen_wrong` (the highest reward went to a wrong response).
    """

    pairs: tuple[Pair, ...]
    skip_reason: str | None = None
    refused: Mapping[str, int] = {}


def shortest_correct(
    samples: Sequence[Sample],
    *,
    min_correct_share: float,
    min_length_ratio: float,
    pairs_per_query: int,
    seed: int | str,
    rejected_order: RejectedOrder = "in_turn",
    rejected_draw: RejectedDraw = "random",
    refuse_longer_chosen: bool = False,
) -> PairOutcome:
    """Stage 1: the shortest correct response against wrong ones and much longer correct ones.

    A model that is mostly wrong is sometimes right by a lucky short guess, and to prefer that guess costs accuracy.
    So the shortest one is trusted only where at least `min_correct_share` of the responses are correct; elsewhere the
    one of median length (of two, the longer) is chosen, and only wrong ones are rejected.

    Args:
        samples: the responses to one query; those without an outcome are ignored.
        min_correct_share: share of the responses with an outcome.
        min_length_ratio: how many times longer, in tokens, a correct response is to be rejected.
        pairs_per_query: at most this many.
        seed: of the coin and of the draws.
        rejected_order: `in_turn`: wrong and longer ones by turns, as long as there are both; a coin says which is
            first. `wrong_first`, `longer_first`: all of one kind before the other. `random`: the kind does not matter.
        rejected_draw: among those of a kind (`random` order: among all) a `random` one, or the `shortest` or `longest`.
        refuse_longer_chosen: refuse a wrong response that is shorter than the chosen one, too. Such a pair teaches to
            be right and, on the side, to be longer; it is also what keeps a model from short guesses.
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
    candidates = _in_order(samples, wrong, longer, order=rejected_order, draw=rejected_draw, rng=rng)
    return _select(samples, candidates, pairs_per_query, refuse_longer_chosen=refuse_longer_chosen)


def hybrid(samples: Sequence[Sample], *, pairs_per_query: int, seed: int | str) -> PairOutcome:
    """Stage 2: the response of the highest reward in the question's language against the others.

    Rewards see the final answer, so in reasoning mode the preference is judged on it only. A response in another
    language is rejected first (`language`), then a `wrong` one or one of lower reward (`preference`). The chosen one is
    never known to be wrong, cut off or in another language; it is drawn among those of equal reward. An answer too
    short to tell its language, such as a number, is no example of the right one, and without that part of the reward no
    lesser one either.

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
    is_wrong_best = any(rewards[i] > best and samples[i].is_wrong for i in rewards)
    chosen = rng.choice([i for i in eligible if rewards[i] == best])
    foreign = [i for i in rewards if in_language and samples[i].is_in_language is False]
    # The nearest counterpart: right like the chosen one, then of its length, so that the pair is about the language.
    length = len(samples[chosen].token_ids)
    foreign.sort(key=lambda i: (samples[i].is_wrong, abs(len(samples[i].token_ids) - length)))
    language = [Pair(chosen, i, "language") for i in foreign]
    comparable = [i for i in rewards if not in_language or samples[i].is_in_language is not None]
    other = [
        Pair(chosen, i, "wrong" if samples[i].is_wrong else "preference")
        for i in rewards
        if i not in foreign and (samples[i].is_wrong or (i in comparable and rewards[i] < best))
    ]
    outcome = _select(samples, language + _shuffled(other, rng), pairs_per_query)
    return outcome._replace(refused={**outcome.refused, "chosen_wrong": 1}) if is_wrong_best else outcome


def _in_order(
    samples: Sequence[Sample],
    wrong: Sequence[Pair],
    longer: Sequence[Pair],
    *,
    order: RejectedOrder,
    draw: RejectedDraw,
    rng: random.Random,
) -> list[Pair]:
    """The candidates of stage 1, those to be taken first at the front; see `shortest_correct`."""

    def drawn(candidates: Sequence[Pair]) -> list[Pair]:
        mixed = _shuffled(candidates, rng)
        if draw == "random":
            return mixed
        return sorted(mixed, key=lambda pair: len(samples[pair.rejected].token_ids), reverse=draw == "longest")

    if order == "in_turn":
        first, second = _shuffled([drawn(wrong), drawn(longer)], rng)
        return [pair for both in zip_longest(first, second) for pair in both if pair is not None]
    if order == "random":
        return drawn([*wrong, *longer])
    kinds = (wrong, longer) if order == "wrong_first" else (longer, wrong)
    return [pair for kind in kinds for pair in drawn(kind)]


def _shuffled(items: Sequence[T], rng: random.Random) -> list[T]:
    return rng.sample(items, len(items))


def _select(
    samples: Sequence[Sample], candidates: Sequence[Pair], limit: int, *, refuse_longer_chosen: bool = False
) -> PairOutcome:
    """The first `limit` candidates that are not refused, none of them with rejected tokens seen before."""
    refused: Counter[str] = Counter()
    distinct: dict[tuple[int, ...], Pair] = {}
    for pair in candidates:
        chosen, rejected = samples[pair.chosen], samples[pair.rejected]
        if reason := _refusal(chosen, rejected, refuse_longer_chosen=refuse_longer_chosen):
            refused[reason] += 1
        else:
            distinct.setdefault(rejected.token_ids, pair)
    if distinct:
        return PairOutcome(tuple(distinct.values())[:limit], None, refused)
    nothing = "one_response" if len(samples) == 1 else "nothing_to_teach"
    return PairOutcome((), "refused" if refused else nothing, refused)


def _refusal(chosen: Sample, rejected: Sample, *, refuse_longer_chosen: bool) -> str | None:
    """Why a pair would teach nothing, or the opposite."""
    if chosen.token_ids == rejected.token_ids:
        return "same_tokens"
    if chosen.trained_text == rejected.trained_text:
        return "same_text"
    if any(side.num_untrained >= len(side.token_ids) for side in (chosen, rejected)):
        return "untrained"
    if refuse_longer_chosen and len(chosen.token_ids) > len(rejected.token_ids):
        return "chosen_longer"
    return None
