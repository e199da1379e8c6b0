"""What an engine is: token ids of prompts in, token ids of completions out. Rendering and parsing are the caller's."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from posttrain.errors import UserError
from posttrain.recipe import Decoding, EngineSection, ModelSection


class Completion(NamedTuple):
    """What follows a prompt: its token ids, the end-of-turn token included unless the token limit came first.

    `closed_at`: the number of tokens after which the thinking was closed by force; None where it was not.
    """

    token_ids: list[int]
    is_truncated: bool
    closed_at: int | None = None


class Engine(Protocol):
    """Something that continues prompts; `contextlib.closing` makes it a context manager.

    Attributes:
        max_model_len: the longest sequence in tokens, prompt and completion together.
        end_ids: the tokens that end a completion.
    """

    max_model_len: int
    end_ids: frozenset[int]

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], decoding: Decoding, *, seed: int, first_index: int = 0
    ) -> list[list[Completion]]:
        """Sample `decoding.samples` completions of every prompt.

        The same seed gives the same completions. Each sample has a random stream of its own, from the seed and the
        indices of prompt and sample, so it does not depend on what else is asked for. What is left is rounding: another
        batch rounds the logits differently in the last digit, which can tip a draw that lies on an edge.
        `first_index` is the index of the first prompt: a chunk of a long list gets the streams that it has in the list.
        With a `thinking_budget` it holds for each sequence by itself, to the token (`posttrain.inference.draft`).

        Raises:
            UserError: a prompt and `decoding.max_new_tokens` together are longer than the engine's `max_model_len`.
        """
        ...

    def stream(self, prompt_ids: Sequence[int], decoding: Decoding, *, seed: int) -> Iterator[int]:
        """The tokens of the first sample of one prompt as they come; together they are what `generate` gives.

        Closing the iterator stops the sampling.

        Raises:
            UserError: as in `generate`.
        """
        ...

    def close(self) -> None:
        """Free the model and its cache; the engine cannot be used afterwards."""
        ...


def open_engine(section: EngineSection, model: ModelSection, tokenizer: Any) -> Engine:
    """Load the model into the engine that the recipe names.

    Raises:
        UserError: the model cannot be loaded, or not with these settings.
    """
    if section.name == "vllm":
        from posttrain.inference.vllm_engine import open_vllm_engine

        return open_vllm_engine(section, model, tokenizer)
    from posttrain.inference.transformers_engine import open_transformers_engine

    return open_transformers_engine(section, model, tokenizer)


def sample_seed(*key: int) -> int:
    """The seed of one sample's own random stream, 0 to 2**63 - 1.

    Args:
        key: what tells it from all others: the run's seed, then indices such as step, prompt and sample; 0 or more.
    """
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def end_token_ids(generation_config: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a completion: those of the model's generation settings, else the tokenizer's.

    Raises:
        UserError: neither names one, so nothing would ever end.
    """
    named = generation_config.eos_token_id
    if named is None:
        named = tokenizer.eos_token_id
    if named is None or named == []:
        raise UserError(
            "neither the model's generation_config.json nor its tokenizer names an end-of-turn token; "
            "set eos_token_id in generation_config.json"
        )
    return [int(token) for token in named] if isinstance(named, list | tuple) else [int(named)]


def context_length(config: Any) -> int:
    """The longest sequence in tokens that a model's configuration allows; no limit where it names none."""
    return int(getattr(config, "max_position_embeddings", sys.maxsize))


def check_lengths(
    prompts_ids: Sequence[Sequence[int]],
    decoding: Decoding,
    max_model_len: int,
    place_of: Callable[[int], str] = "prompt {}".format,
) -> None:
    """Refuse what would not fit, so that no completion is cut shorter than the recipe says.

    Args:
        prompts_ids: the token ids of each prompt.
        decoding: says how many new ones there may be.
        max_model_len: the engine's longest sequence, in tokens.
        place_of: names the prompt of a number, counted from 0.

    Raises:
        UserError: names the first prompt that is empty or too long, the lengths in tokens, and how many more there are.
    """
    for index, prompt in enumerate(prompts_ids):
        if not prompt:
            raise UserError(f"{place_of(index)} has no tokens; a prompt needs at least one")
    limit = max_model_len - decoding.max_new_tokens
    too_long = [index for index, prompt in enumerate(prompts_ids) if len(prompt) > limit]
    if too_long:
        others = f" (as {len(too_long) - 1:,} more of {len(prompts_ids):,} prompts)" if len(too_long) > 1 else ""
        raise UserError(
            f"{place_of(too_long[0])} has {len(prompts_ids[too_long[0]])} tokens, which with "
            f"{decoding.max_new_tokens} new ones (max_new_tokens) is more than the engine's {max_model_len}{others}; "
            "raise engine.max_model_len, lower max_new_tokens or leave the row out"
        )
