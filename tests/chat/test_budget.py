from typing import Any

import pytest

from posttrain.chat import MODES, ThinkingBudget, encode_prompt, read_template, render_prompt

USER = [{"role": "user", "content": "what does <think> mean?"}]


def prompt_ids(tokenizer: Any, mode: Any) -> list[int]:
    return encode_prompt(tokenizer, render_prompt(tokenizer, USER, mode))


@pytest.fixture(scope="module")
def tagless(tokenizer: Any) -> Any:
    """A tokenizer that spells the tags."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(
        models.BPE(vocab={char: i for i, char in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    spelling = PreTrainedTokenizerFast(tokenizer_object=core)
    spelling.chat_template = read_template("exaone4")
    return spelling


def test_closing_is_what_the_template_writes_between_the_modes(tokenizer: Any) -> None:
    reasoning, direct = (render_prompt(tokenizer, USER, mode) for mode in MODES)
    assert reasoning + tokenizer.decode(ThinkingBudget(tokenizer, 5).closing_ids) == direct


@pytest.mark.parametrize("name", ["tokenizer", "tagless"])
def test_budget_counts_from_the_tag_of_the_template_and_not_where_it_closed_the_thinking(
    name: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(name)
    budget = ThinkingBudget(tokenizer, 5)
    assert budget.limit(prompt_ids(tokenizer, "reasoning")) == 5
    assert budget.limit(prompt_ids(tokenizer, "non_reasoning")) is None


@pytest.mark.parametrize("name", ["tokenizer", "tagless"])
def test_thinking_goes_on_until_the_closing_tag(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    prompt, budget = prompt_ids(tokenizer, "reasoning"), ThinkingBudget(tokenizer, 5)
    assert budget.is_thinking(prompt, encode_prompt(tokenizer, "2+2=4"))
    assert not budget.is_thinking(prompt, encode_prompt(tokenizer, "2+2=4</think>"))


@pytest.mark.parametrize("name", ["tokenizer", "tagless"])
def test_tag_that_the_model_has_to_write_is_none_of_the_thinking(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    prompt, budget = encode_prompt(tokenizer, "[|assistant|]\n"), ThinkingBudget(tokenizer, 5)
    assert budget.limit(prompt) == 5 + len(encode_prompt(tokenizer, "<think>"))
    assert budget.is_thinking(prompt, encode_prompt(tokenizer, "<think>\n2+2"))
    assert not budget.is_thinking(prompt, encode_prompt(tokenizer, "2+2 <think> is four, I say"))


def test_tokenizer_of_the_tests_has_the_tags_as_tokens(tokenizer: Any, tagless: Any) -> None:
    assert len(encode_prompt(tokenizer, "</think>")) == 1
    assert len(encode_prompt(tagless, "</think>")) == 8
