import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from posttrain.chat import encode_prompt, read_template, render_prompt
from posttrain.errors import UserError
from posttrain.inference import Completion
from posttrain.inference.transformers_engine import TransformersEngine
from posttrain.models.build import HybridShape, build_model
from posttrain.models.load import load_model, load_tokenizer
from posttrain.models.tokenizer import train_tokenizer
from posttrain.recipe import Decoding, ModelSection
from tests import taught

NEW_TOKENS = 48
NUM_END_IDS = 16  # of 276: a random model ends a turn about every 17 tokens
GREEDY = Decoding(temperature=0.0, max_new_tokens=NEW_TOKENS)
SAMPLED = Decoding(temperature=1.0, top_p=0.9, max_new_tokens=NEW_TOKENS, samples=3)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(["one two three"], vocab_size=300, chat_template=read_template("exaone4"))


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    """Hybrid attention with a window of 64. Random weights, whose logits lie far apart: a tie would be chance."""
    model = build_model(HybridShape(), tokenizer, seed=3).eval()
    model.generation_config.eos_token_id = random.Random(1).sample(range(10, len(tokenizer)), NUM_END_IDS)
    return model


@pytest.fixture(scope="module")
def prompts(tokenizer: Any) -> list[list[int]]:
    """Shorter than the window, longer, and such that grow past it."""
    rng = random.Random(0)
    lengths = [1, 2, 7, 20, 40, 60, 63, 64, 65, 66, 90, 130, 150, 33, 12]
    return [[rng.randrange(10, len(tokenizer)) for _ in range(length)] for length in lengths]


def generated_by_upstream(model: Any, tokenizer: Any, prompts: list[list[int]]) -> list[Completion]:
    """Greedy `model.generate` over one padded batch, each row cut at its first end token."""
    width = max(map(len, prompts))
    ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW_TOKENS)
    ends = set(model.generation_config.eos_token_id)
    completions = []
    for row in out[:, width:].tolist():
        stop = next((index + 1 for index, token in enumerate(row) if token in ends), None)
        completions.append(Completion(row[:stop], is_truncated=stop is None))
    return completions


def test_greedy_tokens_are_those_of_model_generate_while_rows_drop_out(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    expected = generated_by_upstream(model, tokenizer, prompts)
    assert len({len(completion.token_ids) for completion in expected}) > 5
    assert {completion.is_truncated for completion in expected} == {True, False}
    assert TransformersEngine(model, tokenizer).generate(prompts, GREEDY, seed=0) == [[each] for each in expected]


@pytest.mark.parametrize("max_num_seqs", [1, 4])
def test_size_of_the_batches_changes_no_token(
    model: Any, tokenizer: Any, prompts: list[list[int]], max_num_seqs: int
) -> None:
    whole = TransformersEngine(model, tokenizer).generate(prompts, SAMPLED, seed=1)
    assert TransformersEngine(model, tokenizer, max_num_seqs=max_num_seqs).generate(prompts, SAMPLED, seed=1) == whole


def test_budget_changes_no_sample_that_stays_within_it(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    opened = [prompt + encode_prompt(tokenizer, "<think>\n") for prompt in prompts]
    engine = TransformersEngine(model, tokenizer)
    free = [one for some in engine.generate(opened, SAMPLED, seed=1) for one in some]
    decoding = replace(SAMPLED, thinking_budget=20)
    capped = [one for some in engine.generate(opened, decoding, seed=1) for one in some]
    assert {one.closed_at for one in capped} == {None, 20}
    for one, other in zip(capped, free, strict=True):
        assert one == other if one.closed_at is None else one.token_ids[:20] == other.token_ids[:20]


def test_samples_of_a_prompt_do_not_depend_on_the_prompts_behind_it(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    engine = TransformersEngine(model, tokenizer)
    assert engine.generate(prompts[:3], SAMPLED, seed=1) == engine.generate(prompts, SAMPLED, seed=1)[:3]


def test_chunk_of_the_prompts_gets_the_samples_that_it_has_among_all(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    engine = TransformersEngine(model, tokenizer)
    whole = engine.generate(prompts, SAMPLED, seed=1)
    assert engine.generate(prompts[4:9], SAMPLED, seed=1, first_index=4) == whole[4:9]
    assert engine.generate(prompts[4:9], SAMPLED, seed=1) != whole[4:9]


def test_seed_decides_the_samples_and_samples_of_one_prompt_differ(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    engine = TransformersEngine(model, tokenizer)
    first = engine.generate(prompts[:4], SAMPLED, seed=1)
    assert engine.generate(prompts[:4], SAMPLED, seed=1) == first
    assert engine.generate(prompts[:4], SAMPLED, seed=2) != first
    assert all(len({tuple(sample.token_ids) for sample in samples}) == 3 for samples in first)


def test_completion_ends_with_its_end_token_unless_it_was_cut_off(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    ends = set(model.generation_config.eos_token_id)
    samples = [
        sample for some in TransformersEngine(model, tokenizer).generate(prompts, SAMPLED, seed=1) for sample in some
    ]
    for token_ids, is_truncated, _ in samples:
        assert (token_ids[-1] in ends) != is_truncated
        assert not ends & set(token_ids[:-1])
        assert len(token_ids) == NEW_TOKENS or not is_truncated


def test_end_token_at_the_limit_is_an_end(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    engine = TransformersEngine(model, tokenizer)
    ended = next(some[0] for some in engine.generate(prompts, GREEDY, seed=0) if not some[0].is_truncated)
    index = engine.generate(prompts, GREEDY, seed=0).index([ended])
    limit = Decoding(temperature=0.0, max_new_tokens=len(ended.token_ids))
    assert engine.generate([prompts[index]], limit, seed=0) == [[ended]]


def test_too_long_prompt_is_refused_before_anything_is_generated(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer, max_model_len=60)
    with pytest.raises(UserError, match="prompt 1 has 13 tokens"):
        engine.generate([[20] * 12, [20] * 13], GREEDY, seed=0)


def test_no_prompts_give_no_completions(model: Any, tokenizer: Any) -> None:
    assert TransformersEngine(model, tokenizer).generate([], GREEDY, seed=0) == []


def test_budget_holds_for_each_sequence_of_a_batch_by_itself(taught_folder: Path) -> None:
    section = ModelSection(path=str(taught_folder))
    tokenizer = load_tokenizer(section)
    engine = TransformersEngine(load_model(section, tokenizer), tokenizer)
    user = {"role": "user", "content": taught.QUESTION}
    second = [
        user,
        {"role": "assistant", "content": taught.ANSWER},
        {"role": "user", "content": taught.SECOND_QUESTION},
    ]
    asked: list[Any] = [([user], "reasoning"), ([user], "non_reasoning"), (second, "reasoning")]
    prompts = [encode_prompt(tokenizer, render_prompt(tokenizer, messages, mode)) for messages, mode in asked]

    def said(budget: int | None) -> tuple[list[str], list[int | None]]:
        decoding = Decoding(temperature=0.0, max_new_tokens=60, thinking_budget=budget)
        completions = [some[0] for some in engine.generate(prompts, decoding, seed=0)]
        assert [list(engine.stream(prompt, decoding, seed=0)) for prompt in prompts] == [
            one.token_ids for one in completions
        ]
        return [tokenizer.decode(one.token_ids) for one in completions], [one.closed_at for one in completions]

    long, short = f"{taught.THINKING}\n</think>\n\n{taught.ANSWER}", f"{taught.SECOND_THINKING}\n</think>\n\n"
    free = [
        f"{long}[|endofturn|]",
        f"{taught.DIRECT_ANSWER}[|endofturn|]",
        f"{short}{taught.SECOND_ANSWER}[|endofturn|]",
    ]
    assert said(None) == (free, [None] * 3)
    num_short = len(encode_prompt(tokenizer, f"{taught.SECOND_THINKING}\n"))
    texts, closed_at = said(num_short)
    assert closed_at == [num_short, None, None]
    assert texts[1:] == free[1:]
    head = tokenizer.decode(encode_prompt(tokenizer, taught.THINKING)[:num_short])
    assert texts[0].startswith(f"{head}\n</think>\n\n")
    assert said(num_short - 1)[1] == [num_short - 1, None, num_short - 1]
