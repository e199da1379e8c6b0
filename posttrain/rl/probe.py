"""The proof that an engine is the trainer's policy: both score the same tokens with the same weights."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch

from posttrain.objectives import kl_k3

RESPONSES, TOKENS = 4, 256  # so many responses, and so much of each


class Probe(NamedTuple):
    """Responses with the trainer's log-probabilities, to be compared with the engine's.

    Attributes:
        sequences: prompts with the beginnings of their completions, as token ids.
        logps: of the tokens of the completions, nats.
    """

    sequences: list[list[int]]
    logps: list[list[float]]

    @classmethod
    def of(
        cls,
        score: Callable[[list[int], list[int]], list[float]],
        prompts_ids: Sequence[list[int]],
        completions_ids: Sequence[list[int]],
    ) -> Self:
        """Score the first of these responses.

        Args:
            score: log-probabilities at temperature 1 of a completion after its prompt.
            prompts_ids: one a response.
            completions_ids: likewise.
        """
        pairs = [*zip(prompts_ids, (ids[:TOKENS] for ids in completions_ids), strict=True)][:RESPONSES]
        return cls([prompt + ids for prompt, ids in pairs], [score(prompt, ids) for prompt, ids in pairs])

    def mismatch_kl(self, engine_logps: Sequence[Sequence[float]]) -> float:
        """Mean k3 over the tokens, in nats.

        Args:
            engine_logps: of all tokens of each sequence but the first.
        """
        pairs = zip(engine_logps, self.logps, strict=True)
        engine = [logp for all_logps, logps in pairs for logp in all_logps[-len(logps) :]]
        trainer = [logp for logps in self.logps for logp in logps]
        return float(kl_k3(torch.tensor([engine]), torch.tensor([trainer])).mean())
