from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.chat import (
    CLOSE,
    MODES,
    OPEN,
    Mode,
    Parsed,
    count_thinking_tokens,
    count_tokens_before_answer,
    parse_completion,
)
from posttrain.models.tokenizer import train_tokenizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t\n</think>\n\na", Parsed("t", "a", is_closed=True)),
        ("t1\nt2\n</think>\n\na1\n\na2\n", Parsed("t1\nt2", "a1\n\na2", is_closed=True)),
        ("t and no end", Parsed("t and no end", "", is_closed=False)),
        ("", Parsed("", "", is_closed=False)),
        ("\n</think>\n\na", Parsed("", "a", is_closed=True)),
        ("</think>", Parsed("", "", is_closed=True)),
        ("t</think>a</think>b", Parsed("t", "a</think>b", is_closed=True)),
        ("<think>\nt\n</think>\n\na", Parsed("t", "a", is_closed=True)),
        ("\n<think>\nt\n</think>\n\na", Parsed("t", "a", is_closed=True)),
        ("<think>\nt", Parsed("t", "", is_closed=False)),
        ("t <think> u</think>a", Parsed("t <think> u", "a", is_closed=True)),
    ],
)
def test_in_reasoning_all_up_to_the_first_closing_tag_is_thinking(text: str, expected: Parsed) -> None:
    assert parse_completion(text, "reasoning") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" a\n", Parsed(None, "a", is_closed=True)),
        ("", Parsed(None, "", is_closed=True)),
        ("<think>\nt\n</think>\n\na", Parsed("t", "a", is_closed=True)),
        ("\n <think>t</think>a", Parsed("t", "a", is_closed=True)),
        ("<think>t and no end", Parsed("t and no end", "", is_closed=False)),
        ("t\n</think>\n\na", Parsed("t", "a", is_closed=True)),
        ("a mentions <think> here", Parsed(None, "a mentions <think> here", is_closed=True)),
    ],
)
def test_without_reasoning_a_block_of_the_models_own_is_split_off(text: str, expected: Parsed) -> None:
    assert parse_completion(text, "non_reasoning") == expected


@given(st.lists(st.sampled_from([OPEN, CLOSE, "a", " ", "\n", "가"])).map("".join), st.sampled_from(MODES))
def test_parsing_loses_no_words(text: str, mode: Mode) -> None:
    parsed = parse_completion(text, mode)
    words = text.replace(OPEN, "").replace(CLOSE, "").split()
    kept = f"{parsed.thinking or ''} {parsed.answer}".replace(OPEN, "").replace(CLOSE, "").split()
    assert "".join(kept) == "".join(words)
    assert parsed.is_closed or not parsed.answer


def count(tokenizer: Any, text: str, mode: Mode) -> int:
    ids = tokenizer(text)["input_ids"]
    return count_thinking_tokens(tokenizer, ids, parse_completion(text, mode))


@pytest.mark.parametrize(
    ("text", "mode", "tokens"),
    [
        ("12</think>345", "reasoning", 2),  # every digit is one token
        ("</think>345", "reasoning", 0),
        ("12345", "reasoning", 5),
        ("1</think>2</think>3", "reasoning", 1),
        ("12345", "non_reasoning", 0),
        ("<think>12</think>345", "non_reasoning", 3),  # the opening tag is a token that the model spent
        ("<think>12345", "non_reasoning", 6),
        ("12</think>345", "non_reasoning", 2),
    ],
)
def test_thinking_tokens_are_those_before_the_closing_tag(tokenizer: Any, text: str, mode: Mode, tokens: int) -> None:
    assert count(tokenizer, text, mode) == tokens


@pytest.mark.parametrize(
    ("text", "mode", "tokens"),
    [
        ("12</think>345", "reasoning", 3),
        ("</think>345", "reasoning", 1),
        ("345</think>", "reasoning", 4),
        ("12345", "reasoning", 5),  # all of it is thinking
        ("1</think>2</think>3", "reasoning", 2),
        ("12345", "non_reasoning", 0),
        ("<think>12</think>345", "non_reasoning", 4),
        ("12</think>345", "non_reasoning", 3),
    ],
)
def test_tokens_before_the_answer_end_with_the_closing_tag(tokenizer: Any, text: str, mode: Mode, tokens: int) -> None:
    assert count_tokens_before_answer(tokenizer, tokenizer(text)["input_ids"], mode) == tokens


def test_closing_tag_of_several_tokens_is_found_too() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: index for index, letter in enumerate(["?", *"</think>12345"])}
    core = Tokenizer(models.WordLevel(letters, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    for unknown in ({}, {"unk_token": "?"}):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **unknown)
        assert count(tokenizer, "12</think>345", "reasoning") == 2 + len("</think>")
        assert count(tokenizer, "12345", "reasoning") == 5
        assert count(tokenizer, "12345", "non_reasoning") == 0
        ids = tokenizer("12</think>345")["input_ids"]
        assert count_tokens_before_answer(tokenizer, ids, "reasoning") == 2 + len("</think>")


def test_tag_that_is_a_special_token_counts_the_same() -> None:
    tokenizer = train_tokenizer(["1"], vocab_size=270, chat_template="x")
    tokenizer.add_special_tokens({"additional_special_tokens": [OPEN, CLOSE]})
    assert count(tokenizer, "12</think>345", "reasoning") == 2
