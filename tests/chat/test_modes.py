from posttrain.chat import MODES, SAMPLING_DEFAULTS
from posttrain.recipe import sections


def test_recipes_know_the_same_modes() -> None:
    assert sections.Mode.__args__ == MODES == ("reasoning", "non_reasoning")


def test_reasoning_is_sampled_and_direct_answers_are_greedy() -> None:
    assert SAMPLING_DEFAULTS["reasoning"].temperature == 0.6
    assert SAMPLING_DEFAULTS["reasoning"].top_p == 0.95
    assert SAMPLING_DEFAULTS["non_reasoning"].temperature == 0.0
