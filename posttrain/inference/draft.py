"""A completion while it is being sampled; the engines share it, so that both treat a thinking budget alike."""

from collections.abc import Collection, Sequence
from typing import Any

from posttrain.chat import ThinkingBudget
from posttrain.inference.engine import Completion
from posttrain.recipe import Decoding


class Draft:
    """Takes token by token what an engine samples, and says what has to stand there instead.

    Attributes:
        token_ids: what there is so far.
        forced: tokens that come next, whatever the engine samples.
        has_ended: whether the model has ended its turn.
        closed_at: the number of tokens after which the thinking was closed by force, None if it was not.

    Args:
        prompt_ids: what the completion continues.
        decoding: its limits.
        budget: the thinking budget of `decoding`, None for none.
        end_ids: the tokens that end a completion.
    """

    def __init__(
        self, prompt_ids: Sequence[int], decoding: Decoding, budget: ThinkingBudget | None, end_ids: Collection[int]
    ) -> None:
        self.token_ids: list[int] = []
        self.forced: list[int] = []
        self.has_ended = False
        self._max_tokens = decoding.max_new_tokens
        self._end_ids = end_ids
        self._budget = budget
        self._prompt_ids = prompt_ids
        self._limit = None if budget is None else budget.limit(prompt_ids)
        self.closed_at: int | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing comes any more."""
        return self.has_ended or len(self.token_ids) >= self._max_tokens

    def add(self, sampled: int) -> int:
        """Take one token, the sampled one or a forced one in its place, and return it."""
        if self._budget is not None and self._has_to_close(self._budget, sampled):
            self.closed_at = len(self.token_ids)
            self.forced = list(self._budget.closing_ids)
        is_forced = bool(self.forced)
        token = self.forced.pop(0) if is_forced else sampled
        self.token_ids.append(token)
        self.has_ended = not is_forced and token in self._end_ids
        return token

    def add_forced(self) -> None:
        """Take all tokens that come next by force, as far as the token limit allows."""
        room = self._max_tokens - len(self.token_ids)
        self.token_ids += self.forced[:room]
        self.forced = []

    def completion(self) -> Completion:
        """What has become of it."""
        return Completion(self.token_ids, not self.has_ended, self.closed_at)

    def _has_to_close(self, budget: ThinkingBudget, sampled: int) -> bool:
        if len(self.token_ids) != self._limit or sampled in self._end_ids:
            return False
        return budget.is_thinking(self._prompt_ids, [*self.token_ids, sampled])


def open_budget(tokenizer: Any, decoding: Decoding) -> ThinkingBudget | None:
    """The thinking budget of `decoding`."""
    return None if decoding.thinking_budget is None else ThinkingBudget(tokenizer, decoding.thinking_budget)
