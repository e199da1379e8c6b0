from typing import Any

import pytest

from posttrain.chat import encode_prompt
from posttrain.grading import empty_attempt, read_attempt
from posttrain.models.tokenizer import train_tokenizer
from rewards.contract import Attempt

QUESTION = [{"role": "user", "content": "4+7?"}]
ROW = {"messages": QUESTION, "answer": "11", "language": "ko", "mode": "reasoning"}


def attempt(tokenizer: Any, text: str, *, mode: Any = "reasoning", is_truncated: bool = False) -> Attempt:
    return read_attempt(tokenizer, ROW, encode_prompt(tokenizer, text), mode=mode, is_truncated=is_truncated)


def test_response_is_split_into_thinking_and_answer(tokenizer: Any) -> None:
    text = "차례로: 4+7=11\n</think>\n\n정답은 \\boxed{11} 입니다.[|endofturn|]"
    read = attempt(tokenizer, text)
    assert read.thinking == "차례로: 4+7=11"
    assert read.answer == "정답은 \\boxed{11} 입니다."
    assert read.mode == "reasoning"
    assert not read.is_truncated


def test_columns_of_the_row_come_along_and_messages_become_the_prompt(tokenizer: Any) -> None:
    read = attempt(tokenizer, "a")
    assert read.prompt == QUESTION
    assert read.prompt[0] is not QUESTION[0]  # a reward may not change the data
    assert read.row == {"answer": "11", "language": "ko", "mode": "reasoning"}


def test_empty_attempt_is_what_reading_no_tokens_gives(tokenizer: Any) -> None:
    for mode in ("reasoning", "non_reasoning"):
        read = read_attempt(tokenizer, ROW, [], mode=mode, is_truncated=False)
        assert (empty_attempt(ROW, mode=mode).answer, empty_attempt(ROW, mode=mode).row) == (read.answer, read.row)
        assert empty_attempt(ROW, mode=mode).num_tokens == read.num_tokens == 0


def test_tokens_count_the_end_of_turn_and_thinking_ends_before_its_tag(tokenizer: Any) -> None:
    read = attempt(tokenizer, "12</think>345[|endofturn|]")
    assert (read.num_tokens, read.num_thinking_tokens) == (7, 2)
    assert read.answer == "345"


def test_truncated_thinking_has_no_answer_and_counts_whole(tokenizer: Any) -> None:
    read = attempt(tokenizer, "12345", is_truncated=True)
    assert (read.thinking, read.answer, read.is_truncated) == ("12345", "", True)
    assert (read.num_tokens, read.num_thinking_tokens) == (5, 5)


def test_direct_answer_has_no_thinking_tokens(tokenizer: Any) -> None:
    read = attempt(tokenizer, "345[|endofturn|]", mode="non_reasoning")
    assert (read.thinking, read.answer, read.num_tokens, read.num_thinking_tokens) == (None, "345", 4, 0)


@pytest.mark.parametrize(("text", "spent"), [("<think>12</think>3[|endofturn|]", 3), ("<think>12345", 6)])
def test_thinking_in_a_direct_answer_is_seen_also_when_it_never_ends(tokenizer: Any, text: str, spent: int) -> None:
    """Mode collapse is measured by these tokens."""
    read = attempt(tokenizer, text, mode="non_reasoning")
    assert (read.thinking or "").startswith("12")
    assert read.num_thinking_tokens == spent


def test_padding_is_no_part_of_the_text(tokenizer: Any) -> None:
    read = attempt(tokenizer, "1</think>2[|endofturn|][PAD][PAD]")
    assert (read.thinking, read.answer) == ("1", "2")


def test_turn_marks_inside_the_response_stay_in_sight(tokenizer: Any) -> None:
    """A model that writes the user's next turn must not look as if it had stopped."""
    read = attempt(tokenizer, "1</think>2[|endofturn|]\n[|user|]3[|endofturn|]")
    assert read.answer == "2[|endofturn|]\n[|user|]3"


def test_tags_stay_in_sight_where_the_tokenizer_calls_them_special() -> None:
    tokenizer = train_tokenizer(["1"], vocab_size=270, chat_template="x")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    read = attempt(tokenizer, "12</think>3[|endofturn|]")
    assert (read.thinking, read.answer, read.num_thinking_tokens) == ("12", "3", 2)


def test_response_of_nothing_but_its_end_is_empty(tokenizer: Any) -> None:
    for mode, thinking in (("reasoning", ""), ("non_reasoning", None)):
        read = attempt(tokenizer, "[|endofturn|]", mode=mode)
        assert (read.thinking, read.answer, read.num_tokens, read.num_thinking_tokens) == (thinking, "", 1, 0)


def test_tokens_that_a_budget_forced_are_none_of_the_thinking(tokenizer: Any) -> None:
    ids = encode_prompt(tokenizer, "123\n</think>\n\n7[|endofturn|]")
    free = read_attempt(tokenizer, ROW, ids, mode="reasoning", is_truncated=False)
    closed = read_attempt(tokenizer, ROW, ids, mode="reasoning", is_truncated=False, closed_at=3)
    assert (free.num_thinking_tokens, closed.num_thinking_tokens) == (4, 3)
    assert (closed.thinking, closed.answer, closed.num_tokens) == ("123", "7", len(ids))
