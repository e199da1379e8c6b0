from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.models.tokenizer import SPECIAL_TOKENS, TAG_TOKENS, TURN_END, train_tokenizer


@pytest.fixture(scope="module", params=["trained", "saved and loaded"])
def either(request: pytest.FixtureRequest, tokenizer: Any, model_folder: Any) -> Any:
    from transformers import AutoTokenizer

    return tokenizer if request.param == "trained" else AutoTokenizer.from_pretrained(model_folder)


def test_every_digit_is_a_token_of_its_own(either: Any) -> None:
    assert either.tokenize("12+345=7") == ["1", "2", "+", "3", "4", "5", "=", "7"]


@pytest.mark.parametrize("token", [*SPECIAL_TOKENS, *TAG_TOKENS])
def test_tokens_of_the_chat_format_are_one_token_anywhere(either: Any, token: str) -> None:
    index = either.convert_tokens_to_ids(token)
    assert either(token)["input_ids"] == [index]
    assert either(f"가{token}b")["input_ids"].count(index) == 1


def test_tags_survive_decoding_without_special_tokens_and_turn_marks_do_not(either: Any) -> None:
    text = "[|assistant|]\n<think>\n4+7=1\n</think>\n\n<tool_call>{}</tool_call>[|endofturn|]"
    ids = either(text)["input_ids"]
    assert either.decode(ids) == text
    kept = "\n<think>\n4+7=1\n</think>\n\n<tool_call>{}</tool_call>"
    assert either.decode(ids, skip_special_tokens=True) == kept


def test_end_of_turn_ends_the_sequence_and_padding_is_another_token(either: Any) -> None:
    assert either.eos_token == TURN_END
    assert either.pad_token == "[PAD]"
    assert either.eos_token_id != either.pad_token_id
    assert either.padding_side == "left"


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_comes_back_whole(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_vocabulary_has_the_size_that_was_asked_for(demo_files: Any) -> None:
    text = demo_files["sft_reasoning"].read_text(encoding="utf-8")
    for size in (300, 400):
        tokenizer = train_tokenizer([text], vocab_size=size, chat_template="{{ 1 }}")
        assert len(tokenizer) == size
        assert tokenizer.chat_template == "{{ 1 }}"
        assert max(tokenizer.get_vocab().values()) == size - 1


def test_training_joins_frequent_words(tokenizer: Any) -> None:
    for text in ("The answer is", "정답은"):
        assert len(tokenizer(text)["input_ids"]) < len(text.encode())
