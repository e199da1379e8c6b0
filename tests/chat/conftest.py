"""Tokenizers of several families: the same vocabulary, the end of a turn as each family writes it; and small rows."""

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest

from posttrain.chat import Mode, read_template, render_for_training
from posttrain.models.tokenizer import TURN_END, train_tokenizer

Family = Callable[[str], Any]
FAMILIES = ("exaone4", "qwen3", "chatml", "smollm2_shape", "smollm3_shape")

BOTH = ("reasoning", "non_reasoning")
DIRECT = ("non_reasoning",)
QUESTION = {"role": "user", "content": "What is 4+7?"}
THOUGHT = {"role": "assistant", "content": "It is 11.", "reasoning_content": "4+7=11"}
REPLY = {"role": "assistant", "content": "It is 11."}


@pytest.fixture(scope="session")
def family() -> Family:
    """A tokenizer with a template: built in, of `tests/chat/templates`, or written out."""
    bases = {}
    for end_of_turn in (TURN_END, "<|im_end|>"):
        base = train_tokenizer(["What is 4+7? It is 11."] * 10, vocab_size=400, chat_template="")
        base.add_special_tokens({"eos_token": end_of_turn, "additional_special_tokens": ["<|im_start|>"]})
        bases[end_of_turn] = base

    def with_template(template: str) -> Any:
        own = Path(__file__).parent / "templates" / f"{template}.jinja"
        text = template if "{" in template else read_template(str(own) if own.is_file() else template)
        tokenizer = copy(bases[TURN_END if TURN_END in text else "<|im_end|>"])
        tokenizer.chat_template = text
        return tokenizer

    return with_template


def row(mode: Mode) -> list[dict[str, Any]]:
    return [QUESTION, THOUGHT if mode == "reasoning" else REPLY]


def trained_text(tokenizer: Any, messages: list[dict[str, Any]], mode: Mode) -> str:
    ids, trained = render_for_training(tokenizer, messages, mode)
    return str(tokenizer.decode([token for token, is_trained in zip(ids, trained, strict=True) if is_trained]))
