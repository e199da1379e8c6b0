from collections.abc import Iterable
from typing import Any

import pytest

from posttrain.chat import ThinkingBudget, encode_prompt
from posttrain.inference.draft import Draft, open_budget
from posttrain.recipe import Decoding


@pytest.fixture
def prompt(tokenizer: Any) -> list[int]:
    return encode_prompt(tokenizer, "[|user|]\n1+1?[|endofturn|]\n[|assistant|]\n<think>\n")


def drafted(tokenizer: Any, prompt: list[int], sampled: Iterable[int], budget: int | None, limit: int = 50) -> Draft:
    decoding = Decoding(temperature=0.0, max_new_tokens=limit, thinking_budget=budget)
    draft = Draft(prompt, decoding, open_budget(tokenizer, decoding), {tokenizer.eos_token_id})
    for token in sampled:
        if draft.is_finished:
            break
        draft.add(token)
    return draft


def words(tokenizer: Any, text: str) -> list[int]:
    return encode_prompt(tokenizer, text)


def test_thinking_beyond_the_budget_is_closed_at_exactly_that_token_and_the_answer_follows(
    tokenizer: Any, prompt: list[int]
) -> None:
    sampled = words(tokenizer, "1234567890[|endofturn|]")
    draft = drafted(tokenizer, prompt, sampled, budget=3)
    # 4 is dropped, 5 to 7 stand where the rest of the closing is forced.
    assert tokenizer.decode(draft.token_ids) == "123\n</think>\n\n890[|endofturn|]"
    assert len(ThinkingBudget(tokenizer, 3).closing_ids) == 4
    assert draft.completion() == (draft.token_ids, False, 3)


@pytest.mark.parametrize("budget", [3, 4, None])
def test_thinking_within_the_budget_is_left_as_it_is(tokenizer: Any, prompt: list[int], budget: int | None) -> None:
    sampled = words(tokenizer, "123</think>4567[|endofturn|]")
    assert drafted(tokenizer, prompt, sampled, budget).completion() == (sampled, False, None)


def test_turn_that_ends_within_the_thinking_has_ended(tokenizer: Any, prompt: list[int]) -> None:
    sampled = words(tokenizer, "123[|endofturn|]")
    assert drafted(tokenizer, prompt, sampled, budget=3).completion() == (sampled, False, None)


def test_answer_that_takes_up_the_tag_again_is_not_closed_again(tokenizer: Any, prompt: list[int]) -> None:
    sampled = words(tokenizer, "1234567<think>" + "8" * 20 + "[|endofturn|]")
    text = tokenizer.decode(drafted(tokenizer, prompt, sampled, budget=3).token_ids)
    assert text.count("</think>") == 1


def test_budget_of_nothing_closes_at_once(tokenizer: Any, prompt: list[int]) -> None:
    draft = drafted(tokenizer, prompt, words(tokenizer, "12345[|endofturn|]"), budget=0)
    assert tokenizer.decode(draft.token_ids) == "\n</think>\n\n5[|endofturn|]"
    assert draft.closed_at == 0


def test_token_limit_bounds_what_is_forced_too(tokenizer: Any, prompt: list[int]) -> None:
    draft = drafted(tokenizer, prompt, words(tokenizer, "1234567890"), budget=3, limit=5)
    assert tokenizer.decode(draft.token_ids) == "123\n</think>"
    assert draft.completion().is_truncated
    at_once = drafted(tokenizer, prompt, words(tokenizer, "1234"), budget=3, limit=5)
    at_once.add_forced()
    assert at_once.completion() == draft.completion()


def test_mode_without_thinking_has_no_budget(tokenizer: Any) -> None:
    direct = words(tokenizer, "[|assistant|]\n<think>\n\n</think>\n\n")
    sampled = words(tokenizer, "123456[|endofturn|]")
    assert drafted(tokenizer, direct, sampled, budget=3).completion() == (sampled, False, None)
