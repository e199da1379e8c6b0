import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import make_attempt
from rewards.length import Conciseness


def score(limit: int, num_thinking_tokens: int) -> float:
    value = Conciseness(limit)(make_attempt({"answer": "4", "num_thinking_tokens": num_thinking_tokens}, {})).score
    assert value is not None
    return value


@given(st.integers(1, 10**6), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_shorter_thinking_never_scores_less(limit: int, one: int, other: int) -> None:
    assert score(limit, min(one, other)) >= score(limit, max(one, other)) >= 0


def test_half_of_the_limit_scores_one_half() -> None:
    assert score(300, 150) == 0.5


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_that_is_not_positive_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="positive number of thinking tokens"):
        Conciseness(limit)
