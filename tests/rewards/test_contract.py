import dataclasses
import math

import pytest

from rewards import Verdict, make_attempt


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf])
def test_a_score_outside_zero_to_one_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Verdict(score)


def test_what_cannot_be_judged_has_no_outcome() -> None:
    with pytest.raises(ValueError, match="without a score"):
        Verdict(None, outcome=False)


def test_an_attempt_cannot_be_changed_by_a_reward() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_attempt("4", {}).answer = "5"  # type: ignore[misc]


def test_make_attempt_counts_words_as_tokens_and_takes_the_mode_from_the_thinking() -> None:
    attempt = make_attempt({"answer": "It is 4.", "thinking": "2 + 2"}, {"answer": "4"})
    assert (attempt.mode, attempt.num_thinking_tokens, attempt.num_tokens) == ("reasoning", 3, 6)
    assert make_attempt("It is 4.", {}).mode == "non_reasoning"


def test_make_attempt_refuses_a_field_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match="anwser"):
        make_attempt({"anwser": "4"}, {})
