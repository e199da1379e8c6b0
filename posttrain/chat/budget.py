"""Cap the thinking of a completion at a number of tokens."""

from collections.abc import Sequence
from typing import Any

from posttrain.chat.parse import CLOSE, OPEN, leaves_thinking_open
from posttrain.chat.template import encode_prompt

CLOSING = f"\n{CLOSE}\n\n"  # as the templates write it between thinking and answer
TAIL = 16  # tokens; the end of a prompt with a tag in it, also where the vocabulary spells the tag letter by letter


class ThinkingBudget:
    """When the thinking of a sequence is to be closed by force, and with which tokens.

    What counts is what the model writes: neither the opening tag, and what a template puts behind it, nor the closing
    one. Thinking of exactly the budget's length that the model closes itself is left as it is (where the vocabulary has
    the closing tag in pieces it is one token too late to see that). A budget of 0 closes at once: with a template that
    writes the opening tag, this is the prompt of the other mode.

    Args:
        tokenizer: of the model.
        max_tokens: of thinking.
    """

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self.closing_ids = tuple(encode_prompt(tokenizer, CLOSING))

    def limit(self, prompt_ids: Sequence[int]) -> int | None:
        """The length in tokens at which a completion has spent its budget, if it thinks; None if it cannot be thinking.

        Where the template leaves the opening tag to the model, the tag is part of the completion.
        """
        tail = self._tail(prompt_ids)
        if tail.endswith(CLOSE):
            return None
        return self._max_tokens + (0 if leaves_thinking_open(tail) else len(encode_prompt(self._tokenizer, OPEN)))

    def is_thinking(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> bool:
        """Whether the thinking goes on after `token_ids`, the beginning of a completion."""
        text = str(self._tokenizer.decode(list(token_ids)))
        is_open = leaves_thinking_open(self._tail(prompt_ids)) or text.lstrip().startswith(OPEN)
        return is_open and CLOSE not in text

    def _tail(self, prompt_ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(prompt_ids[-TAIL:]))).rstrip()
