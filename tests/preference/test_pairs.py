from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.grading import Graded
from posttrain.preference.pairs import Pair, Sample, hybrid, shortest_correct
from rewards.contract import Verdict, make_attempt

RULES = {"min_correct_share": 0.75, "min_length_ratio": 1.2, "pairs_per_query": 1, "seed": 0}


def sample(
    num_tokens,
    outcome,
    *,
    reward=None,
    language=None,
    is_truncated=False,
    first_token=None,
    answer=None,
    thinking=None,
    num_untrained=0,
):
    """A response of `num_tokens` tokens; two of them differ in tokens unless they get the same `first_token`.

    The answers differ as the tokens do, unless one is given.
    """
    sample.count += 1
    token_ids = (first_token if first_token is not None else 1000 + sample.count, *range(num_tokens - 1))
    if reward is None and outcome is not None:
        reward = float(outcome) + (language or 0)
    verdicts = {} if language is None else {"language": Verdict(float(language))}
    answer = str(token_ids) if answer is None else answer
    fields = {"answer": answer, "thinking": thinking, "is_truncated": is_truncated, "num_tokens": num_tokens}
    return Sample(token_ids, make_attempt(fields, {}), Graded(reward, outcome, verdicts), num_untrained)


sample.count = 0


def right(*lengths):
    return [sample(length, True) for length in lengths]


def wrong(*lengths):
    return [sample(length, False) for length in lengths]


# --- stage 1 ---------------------------------------------------------------------------------------------------------


def test_with_6_of_8_right_the_shortest_right_one_is_chosen():
    samples = right(50, 30, 40, 45, 10, 60) + wrong(5, 6)
    outcome = shortest_correct(samples, **RULES)
    assert [pair.chosen for pair in outcome.pairs] == [4]


def test_with_5_of_8_right_the_short_guess_is_not_chosen_but_the_median_against_a_wrong_one():
    samples = right(50, 30, 40, 45, 10) + wrong(5, 6, 7)
    (pair,) = shortest_correct(samples, **RULES).pairs
    assert pair.chosen == 2  # lengths 10 30 40 45 50
    assert pair.rejected in (5, 6, 7)
    assert pair.reason == "wrong"


def test_of_two_right_ones_that_are_too_few_the_longer_is_chosen():
    (pair,) = shortest_correct(right(10, 40) + wrong(5, 6, 7, 8, 9, 10), **RULES).pairs
    assert pair.chosen == 1


def test_below_the_share_a_longer_right_answer_is_never_rejected():
    samples = right(10, 100) + wrong(20, 20)
    reasons = [p.reason for seed in range(30) for p in shortest_correct(samples, **RULES | {"seed": seed}).pairs]
    assert set(reasons) == {"wrong"}


def test_unscorable_samples_do_not_count_in_the_share():
    samples = [*right(10, 50, 60), *wrong(5), *[sample(3, None) for _ in range(4)]]  # 3 of 4, not 3 of 8
    assert {pair.chosen for pair in shortest_correct(samples, **RULES).pairs} == {0}


@pytest.mark.parametrize(("length", "is_rejected"), [(10, False), (11, False), (12, True), (13, True)])
def test_a_right_answer_is_rejected_from_1_2_times_the_chosen_length(length, is_rejected):
    outcome = shortest_correct(right(10, length), **RULES)
    assert outcome.pairs == ((Pair(0, 1, "longer"),) if is_rejected else ())
    assert outcome.skip_reason == (None if is_rejected else "nothing_to_teach")


def test_a_ratio_that_floats_cannot_hold_is_met_by_its_own_length():
    assert shortest_correct(right(10, 11), **RULES | {"min_length_ratio": 1.1}).pairs == (Pair(0, 1, "longer"),)


def test_a_ratio_of_one_still_needs_a_longer_answer():
    assert shortest_correct(right(10, 10), **RULES | {"min_length_ratio": 1.0}).skip_reason == "nothing_to_teach"


def test_wrong_and_longer_ones_are_rejected_about_as_often():
    samples = right(10, 20, 20, 20, 20, 20) + wrong(15)  # 5 longer, 1 wrong: the kind is drawn before the response
    drawn = Counter(shortest_correct(samples, **RULES | {"seed": seed}).pairs[0].reason for seed in range(400))
    assert 160 < drawn["wrong"] < 240  # 200 +- 4 standard deviations


def test_more_pairs_take_both_kinds_in_turn_until_one_is_used_up():
    samples = right(10, 20, 21, 22, 23, 24) + wrong(15)
    outcome = shortest_correct(samples, **RULES | {"pairs_per_query": 4})
    assert Counter(pair.reason for pair in outcome.pairs) == {"wrong": 1, "longer": 3}
    assert "wrong" in [pair.reason for pair in outcome.pairs[:2]]
    assert len({pair.rejected for pair in outcome.pairs}) == 4


def test_the_same_rejected_tokens_make_one_pair():
    samples = right(10) + [sample(20, True, first_token=7) for _ in range(3)]
    assert len(shortest_correct(samples, **RULES | {"pairs_per_query": 3}).pairs) == 1


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (wrong(5, 6), "no_correct"),
        (right(10, 10, 10), "nothing_to_teach"),
        ([sample(5, None), sample(6, None)], "unscorable"),
        ([], "unscorable"),
        ([sample(10, True, first_token=7), sample(10, False, first_token=7)], "refused"),
        ([sample(10, True, is_truncated=True)], "no_correct"),
        (right(10), "one_response"),
    ],
)
def test_a_query_without_a_pair_says_why(samples, reason):
    outcome = shortest_correct(samples, **RULES)
    assert outcome.pairs == ()
    assert outcome.skip_reason == reason


def test_sides_of_the_same_tokens_are_refused_and_counted():
    samples = [sample(10, True, first_token=7), sample(10, False, first_token=7), sample(12, False)]
    outcome = shortest_correct(samples, **RULES | {"min_correct_share": 0.1})
    assert outcome == ((Pair(0, 2, "wrong"),), None, {"same_tokens": 1})


def test_a_cut_off_answer_is_not_chosen_but_may_be_rejected_for_its_length():
    samples = [sample(5, True, is_truncated=True), *right(10, 10, 10), sample(90, True, is_truncated=True)]
    outcome = shortest_correct(samples, **RULES | {"min_correct_share": 0.5})
    assert outcome.pairs == (Pair(1, 4, "longer"),)


# --- how the rejected one is drawn ---

MIXED = right(10, 10, 10, 10, 30, 20, 25) + wrong(15, 40)  # longer: 4, 5, 6; wrong: 7, 8


def rejected(samples, **rules):
    pairs = shortest_correct(samples, **{**RULES, "pairs_per_query": 9, **rules}).pairs
    return [pair.rejected for pair in pairs]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("order", "draw", "expected"),
    [
        ("wrong_first", "shortest", [7, 8, 5, 6, 4]),
        ("wrong_first", "longest", [8, 7, 4, 6, 5]),
        ("longer_first", "shortest", [5, 6, 4, 7, 8]),
        ("longer_first", "longest", [4, 6, 5, 8, 7]),
        ("random", "shortest", [7, 5, 6, 4, 8]),
        ("random", "longest", [8, 4, 6, 5, 7]),
    ],
)
def test_order_and_draw_say_which_is_rejected_first(seed, order, draw, expected):
    assert rejected(MIXED, seed=seed, rejected_order=order, rejected_draw=draw) == expected


def test_in_turn_takes_the_extreme_of_each_kind():
    found = {tuple(rejected(MIXED, seed=seed, rejected_draw="longest")) for seed in range(20)}
    assert found == {(8, 4, 7, 6, 5), (4, 8, 6, 7, 5)}


def test_wrong_first_draws_among_the_wrong_ones():
    drawn = Counter(rejected(MIXED, seed=seed, rejected_order="wrong_first")[0] for seed in range(400))
    assert drawn.keys() == {7, 8}
    assert 160 < drawn[7] < 240


def test_random_order_draws_each_response_alike():
    drawn = Counter(rejected(MIXED, seed=seed, rejected_order="random")[0] for seed in range(1000))
    assert drawn.keys() == {4, 5, 6, 7, 8}
    assert all(150 < count < 250 for count in drawn.values())  # 200 +- 4 standard deviations


# --- what is refused ---


def test_a_shorter_wrong_response_is_rejected_unless_the_chosen_one_must_not_be_longer():
    samples = right(10, 10, 10) + wrong(5)
    assert shortest_correct(samples, **RULES).pairs == (Pair(0, 3, "wrong"),)
    assert shortest_correct(samples, **RULES, refuse_longer_chosen=True) == ((), "refused", {"chosen_longer": 1})
    samples = right(10, 10, 10, 10, 10, 10) + wrong(5, 10)
    assert shortest_correct(samples, **RULES, refuse_longer_chosen=True).pairs == (Pair(0, 7, "wrong"),)


@pytest.mark.parametrize("same", ["It is 7.", " it  is\n7. ", "IT IS ７."])
def test_sides_that_say_the_same_letter_for_letter_are_refused(same):
    samples = [sample(10, True, answer="It is 7."), sample(30, True, answer=same)]
    assert shortest_correct(samples, **RULES) == ((), "refused", {"same_text": 1})


def test_the_same_answer_after_another_thinking_is_refused_only_where_thinking_is_not_trained():
    def samples(num_untrained):
        return [
            sample(length, True, answer="7", thinking=thinking, num_untrained=num_untrained)
            for length, thinking in ((10, "short"), (30, "much longer"))
        ]

    assert shortest_correct(samples(0), **RULES).pairs == (Pair(0, 1, "longer"),)
    assert shortest_correct(samples(5), **RULES).refused == {"same_text": 1}


def test_a_side_of_which_nothing_is_trained_is_refused():
    samples = [sample(10, True, thinking="t", num_untrained=8), sample(30, False, thinking="t", num_untrained=30)]
    assert shortest_correct(samples, **RULES | {"min_correct_share": 0.0}).refused == {"untrained": 1}


def test_a_wrong_response_of_the_highest_reward_is_counted_and_not_chosen():
    samples = [
        sample(10, True, reward=1.0, language=1),
        sample(11, True, reward=0.5, language=1),
        sample(12, False, reward=2.0, language=1),
    ]
    outcome = hybrid(samples, pairs_per_query=3, seed=0)
    assert sorted(outcome.pairs) == [Pair(0, 1, "preference"), Pair(0, 2, "wrong")]
    assert outcome.refused == {"chosen_wrong": 1}


def test_a_wrong_response_of_the_same_reward_is_no_better_one():
    samples = [sample(10, True, reward=1.0, language=1), sample(11, False, reward=1.0, language=1)]
    assert hybrid(samples, pairs_per_query=1, seed=0) == ((Pair(0, 1, "wrong"),), None, {})


# --- stage 2 ---------------------------------------------------------------------------------------------------------


def test_an_answer_in_another_language_is_rejected_before_a_wrong_one():
    samples = [sample(10, True, language=1), sample(10, True, language=0), sample(10, False, language=1)]
    for seed in range(20):
        assert hybrid(samples, pairs_per_query=1, seed=seed).pairs == (Pair(0, 1, "language"),)
    both = hybrid(samples, pairs_per_query=2, seed=0).pairs
    assert both == (Pair(0, 1, "language"), Pair(0, 2, "wrong"))


def test_without_another_language_the_wrong_or_lesser_answer_is_rejected():
    samples = [
        sample(10, True, reward=2.0, language=1),
        sample(10, True, reward=1.5, language=1),
        sample(10, False, reward=1.0, language=1),
    ]
    pairs = hybrid(samples, pairs_per_query=3, seed=0).pairs
    assert sorted(pairs) == [Pair(0, 1, "preference"), Pair(0, 2, "wrong")]


def test_the_best_reward_in_another_language_is_not_chosen():
    samples = [sample(10, True, reward=5.0, language=0), sample(10, True, reward=1.0, language=1)]
    assert hybrid(samples, pairs_per_query=1, seed=0).pairs == (Pair(1, 0, "language"),)


def test_right_answers_in_another_language_only_give_no_pair():
    samples = [sample(10, True, language=0), sample(10, False, language=1)]
    assert hybrid(samples, pairs_per_query=1, seed=0).skip_reason == "wrong_language"


def test_a_bare_number_is_no_example_of_a_language():
    samples = [sample(2, True, reward=1.0), sample(10, True, reward=1.0, language=0)]  # 0: its language cannot be told
    assert hybrid(samples, pairs_per_query=1, seed=0).skip_reason == "nothing_to_teach"


def test_a_bare_number_is_not_rejected_for_the_reward_of_a_language_that_it_does_not_show():
    samples = [sample(10, True, reward=1.5, language=1), sample(2, True, reward=1.0)]
    assert hybrid(samples, pairs_per_query=1, seed=0).skip_reason == "nothing_to_teach"
    wrong_number = sample(2, False, reward=0.0)
    assert hybrid([*samples, wrong_number], pairs_per_query=3, seed=0).pairs == (Pair(0, 2, "wrong"),)


def test_a_bare_number_of_the_highest_reward_is_not_chosen_before_an_answer_in_the_language():
    samples = [sample(2, True, reward=3.0), sample(10, True, reward=1.5, language=1), sample(10, False, language=1)]
    assert [pair.chosen for pair in hybrid(samples, pairs_per_query=1, seed=0).pairs] == [1]


def test_responses_that_nobody_calls_right_or_wrong_are_paired_by_their_reward():
    samples = [sample(10, None, reward=reward, language=1) for reward in (1.2, 1.9, 1.5)]
    pairs = hybrid(samples, pairs_per_query=3, seed=0).pairs
    assert sorted(pairs) == [Pair(1, 0, "preference"), Pair(1, 2, "preference")]


def test_equal_rewards_are_chosen_from_evenly():
    samples = [*[sample(10, True, language=1) for _ in range(2)], sample(10, False, language=1)]
    drawn = Counter(hybrid(samples, pairs_per_query=1, seed=seed).pairs[0].chosen for seed in range(400))
    assert 160 < drawn[0] < 240


def test_wrong_and_lesser_answers_are_rejected_evenly():
    right = [sample(10, True, reward=reward, language=1) for reward in (1.5, 2.0)]
    samples = [*right, sample(10, False, reward=1.0, language=1)]
    drawn = Counter(hybrid(samples, pairs_per_query=1, seed=seed).pairs[0].rejected for seed in range(400))
    assert drawn.keys() == {0, 2}
    assert 160 < drawn[0] < 240


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([sample(10, True, language=1) for _ in range(3)], "nothing_to_teach"),
        ([sample(10, False, language=1)], "no_correct"),
        ([sample(10, True, language=1, is_truncated=True)], "no_correct"),
        ([sample(10, None), sample(10, None)], "unscorable"),
        ([sample(9, True, language=1, first_token=7), sample(9, False, language=1, first_token=7)], "refused"),
        ([sample(10, True, language=1)], "one_response"),
    ],
)
def test_responses_that_are_alike_or_bad_are_skipped(samples, reason):
    assert hybrid(samples, pairs_per_query=1, seed=0).skip_reason == reason


# --- both ------------------------------------------------------------------------------------------------------------

any_sample = st.builds(
    sample,
    st.integers(1, 6),
    st.sampled_from([True, False, None]),
    reward=st.sampled_from([None, 0.0, 0.5, 1.0]),
    language=st.sampled_from([None, 0, 1]),
    is_truncated=st.booleans(),
    first_token=st.sampled_from([None, 7]),
)
groups = st.lists(any_sample, max_size=8)


def check(samples, outcome, limit):
    assert bool(outcome.pairs) == (outcome.skip_reason is None)
    assert len(outcome.pairs) <= limit
    for pair in outcome.pairs:
        chosen, rejected = samples[pair.chosen], samples[pair.rejected]
        assert not chosen.is_wrong
        assert not chosen.attempt.is_truncated
        assert chosen.token_ids != rejected.token_ids
        assert chosen.trained_text != rejected.trained_text


@given(
    groups,
    st.integers(1, 3),
    st.floats(0, 1),
    st.integers(),
    st.sampled_from(["in_turn", "wrong_first", "longer_first", "random"]),
    st.sampled_from(["random", "shortest", "longest"]),
)
def test_shortest_correct_never_chooses_what_is_not_known_to_be_right(samples, limit, share, seed, order, draw):
    rules = {"min_correct_share": share, "min_length_ratio": 1.5, "pairs_per_query": limit, "seed": seed}
    rules |= {"rejected_order": order, "rejected_draw": draw}
    outcome = shortest_correct(samples, **rules)
    check(samples, outcome, limit)
    for pair in outcome.pairs:
        assert samples[pair.chosen].graded.outcome is True
        assert samples[pair.rejected].graded.outcome is not None
    assert outcome == shortest_correct(samples, **rules)


@given(groups, st.integers(1, 3), st.integers())
def test_hybrid_never_chooses_a_wrong_unscorable_or_foreign_answer(samples, limit, seed):
    outcome = hybrid(samples, pairs_per_query=limit, seed=seed)
    check(samples, outcome, limit)
    for pair in outcome.pairs:
        assert samples[pair.chosen].graded.reward is not None
        assert samples[pair.rejected].graded.reward is not None
        assert samples[pair.chosen].is_in_language is not False
    assert outcome == hybrid(samples, pairs_per_query=limit, seed=seed)


def test_of_the_answers_in_another_language_the_nearest_counterpart_is_rejected():
    chosen = sample(20, True, language=1)
    samples = [chosen, sample(20, False, language=0), sample(30, True, language=0), sample(22, True, language=0)]
    for seed in range(5):
        pairs = hybrid(samples, pairs_per_query=3, seed=seed).pairs
        assert [pair.rejected for pair in pairs] == [3, 2, 1]  # right and 2 tokens off, right and 10 off, wrong
