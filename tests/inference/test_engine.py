from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.errors import UserError
from posttrain.inference.engine import check_lengths, context_length, end_token_ids, sample_seed
from posttrain.recipe import Decoding

TOKENIZER = SimpleNamespace(eos_token_id=5)


def greedy(max_new_tokens: int) -> Decoding:
    return Decoding(temperature=0.0, max_new_tokens=max_new_tokens)


@pytest.mark.parametrize(("named", "expected"), [(7, [7]), ([7, 2], [7, 2]), (None, [5])])
def test_models_own_end_tokens_win_over_the_tokenizers(named: object, expected: list[int]) -> None:
    assert end_token_ids(SimpleNamespace(eos_token_id=named), TOKENIZER) == expected


def test_model_and_tokenizer_without_an_end_token_are_refused() -> None:
    with pytest.raises(UserError, match=r"generation_config\.json"):
        end_token_ids(SimpleNamespace(eos_token_id=None), SimpleNamespace(eos_token_id=None))


def test_prompt_that_just_fits_is_taken_and_one_token_more_is_refused_by_number_and_lengths() -> None:
    prompts = [[1] * 3, [1] * 6]
    check_lengths(prompts, greedy(4), max_model_len=10)
    with pytest.raises(UserError, match=r"prompt 1 has 6 tokens, which with 5 new ones .* more than the engine's 10"):
        check_lengths(prompts, greedy(5), max_model_len=10)


def test_empty_prompt_is_refused() -> None:
    with pytest.raises(UserError, match="prompt 1 has no tokens"):
        check_lengths([[1], []], greedy(1), max_model_len=10)


def test_configuration_that_names_no_context_sets_no_limit() -> None:
    assert context_length(SimpleNamespace(max_position_embeddings=512)) == 512
    check_lengths([[1] * 1000], greedy(1000), context_length(SimpleNamespace()))


@given(seed=st.integers(0, 2**32 - 1), prompt=st.integers(0, 10**6), sample=st.integers(0, 1000))
def test_each_sample_has_a_seed_of_its_own_that_every_engine_can_take(seed: int, prompt: int, sample: int) -> None:
    own = sample_seed(seed, prompt, sample)
    assert own == sample_seed(seed, prompt, sample)
    assert 0 <= own < 2**63
    assert own not in {
        sample_seed(seed + 1, prompt, sample),
        sample_seed(seed, prompt + 1, sample),
        sample_seed(seed, prompt, sample + 1),
        sample_seed(seed, sample, prompt) if sample != prompt else None,
    }
