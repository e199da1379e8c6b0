import os
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from posttrain.chat import encode_prompt, read_template
from posttrain.errors import UserError
from posttrain.inference import Engine, open_engine
from posttrain.models.build import HybridShape, build_model
from posttrain.models.load import load_tokenizer, save_model
from posttrain.models.tokenizer import train_tokenizer
from posttrain.recipe import Decoding, EngineSection, ModelSection

pytestmark = pytest.mark.slow

GREEDY = Decoding(temperature=0.0, max_new_tokens=48)
SAMPLED = Decoding(temperature=1.0, top_p=0.9, top_k=50, max_new_tokens=48, samples=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSection:
    """A float32 model with random weights, whose logits lie far apart, and many end tokens, so that lengths differ."""
    tokenizer = train_tokenizer(["one two three"], vocab_size=300, chat_template=read_template("exaone4"))
    model = build_model(HybridShape(), tokenizer, seed=3)
    model.generation_config.eos_token_id = random.Random(1).sample(range(10, len(tokenizer)), 16)
    folder = tmp_path_factory.mktemp("random") / "model"
    save_model(model, tokenizer, folder)
    return ModelSection(path=str(folder))


@pytest.fixture(scope="module")
def tokenizer(model: ModelSection) -> Any:
    return load_tokenizer(model)


@pytest.fixture(scope="module")
def prompts(tokenizer: Any) -> list[list[int]]:
    """Shorter than the window of 64, longer, and such that grow past it; 6,000 tokens, more than one step takes."""
    rng = random.Random(0)
    lengths = [1, 2, 7, 20, 40, 60, 63, 64, 65, 66, 90, 130, 150, 33, 12, *(130 for _ in range(40))]
    return [[rng.randrange(10, len(tokenizer)) for _ in range(length)] for length in lengths]


@pytest.fixture(scope="module")
def engine(model: ModelSection, tokenizer: Any) -> Iterator[Engine]:
    """The second engine of this process: it opens only if closing the first gave everything back."""
    section = EngineSection(name="vllm", max_model_len=512, memory_gb=0.25)
    open_engine(section, model, tokenizer).close()
    with closing(open_engine(section, model, tokenizer)) as engine:
        yield engine


def test_both_engines_give_the_same_greedy_tokens(
    engine: Engine, model: ModelSection, tokenizer: Any, prompts: list[list[int]]
) -> None:
    with closing(open_engine(EngineSection(name="transformers"), model, tokenizer)) as other:
        expected = other.generate(prompts, GREEDY, seed=0)
    assert len({len(some[0].token_ids) for some in expected}) > 5
    assert {some[0].is_truncated for some in expected} == {True, False}
    assert engine.generate(prompts, GREEDY, seed=0) == expected


@pytest.mark.parametrize("budget", [0, 1, 20, 47, 48])
def test_both_engines_close_the_thinking_at_the_same_token(
    engine: Engine, model: ModelSection, tokenizer: Any, prompts: list[list[int]], budget: int
) -> None:
    """Budgets that hit most, some and, at the token limit, none of the sequences; 47 leaves room for one token."""
    opening, closing_ids = (encode_prompt(tokenizer, text) for text in ("<think>\n", "\n</think>\n\n"))
    thinking = [prompt + opening for prompt in prompts]
    decoding = Decoding(temperature=0.0, max_new_tokens=48, thinking_budget=budget)
    with closing(open_engine(EngineSection(name="transformers"), model, tokenizer)) as other:
        expected = other.generate(thinking, decoding, seed=0)
        unlimited = other.generate(thinking, GREEDY, seed=0)
    got = engine.generate(thinking, decoding, seed=0)
    assert got == expected
    for (capped,), (free,) in zip(got, unlimited, strict=True):
        assert capped.token_ids[:budget] == free.token_ids[:budget]
        if capped.closed_at is None:
            assert capped == free
        else:
            assert capped.closed_at == budget
            assert capped.token_ids[budget:][:4] == closing_ids[: 48 - budget]
    assert {some[0].closed_at for some in got} == {None, budget} - {48}


@pytest.mark.parametrize("budget", [None, 20])
def test_stream_gives_the_tokens_of_generate_one_after_the_other(
    engine: Engine, tokenizer: Any, prompts: list[list[int]], budget: int | None
) -> None:
    decoding = Decoding(temperature=1.0, max_new_tokens=48, thinking_budget=budget)
    prompt = prompts[5] + encode_prompt(tokenizer, "<think>\n")
    [[completion]] = engine.generate([prompt], decoding, seed=1)
    assert list(engine.stream(prompt, decoding, seed=1)) == completion.token_ids
    stopped = engine.stream(prompt, decoding, seed=1)
    assert [next(stopped), next(stopped)] == completion.token_ids[:2]
    stopped.close()
    assert engine.generate([prompt], decoding, seed=1) == [[completion]]


def test_budget_changes_no_sample_that_stays_within_it(
    engine: Engine, tokenizer: Any, prompts: list[list[int]]
) -> None:
    opened = [prompt + encode_prompt(tokenizer, "<think>\n") for prompt in prompts]
    free = [one for some in engine.generate(opened, SAMPLED, seed=1) for one in some]
    decoding = replace(SAMPLED, thinking_budget=20)
    capped = [one for some in engine.generate(opened, decoding, seed=1) for one in some]
    assert {one.closed_at for one in capped} == {None, 20}
    for one, other in zip(capped, free, strict=True):
        assert one == other if one.closed_at is None else one.token_ids[:20] == other.token_ids[:20]


def test_same_seed_gives_the_same_samples_whatever_else_is_asked(engine: Engine, prompts: list[list[int]]) -> None:
    samples = engine.generate(prompts, SAMPLED, seed=1)
    assert engine.generate(prompts[:3], SAMPLED, seed=1) == samples[:3]
    assert engine.generate(prompts[:3], SAMPLED, seed=2) != samples[:3]
    assert engine.generate(prompts[3:6], SAMPLED, seed=1, first_index=3) == samples[3:6]
    assert engine.generate(prompts[3:6], SAMPLED, seed=1) != samples[3:6]
    assert all(len({tuple(sample.token_ids) for sample in some}) == 3 for some in samples)


def test_too_long_prompt_is_refused_by_its_number(engine: Engine) -> None:
    with pytest.raises(UserError, match=r"prompt 1 has 465 tokens,.* more than the engine's 512"):
        engine.generate([[20] * 464, [20] * 465], GREEDY, seed=0)


def test_no_prompts_give_no_completions(engine: Engine) -> None:
    assert engine.generate([], GREEDY, seed=0) == []


def test_users_own_cache_variable_is_left_as_it_was(
    engine: Engine, model: ModelSection, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")
    with pytest.raises(UserError, match="vLLM refuses"):
        open_engine(EngineSection(name="vllm", max_model_len=10**6), model, tokenizer)
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "3"


def test_folder_without_a_model_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(UserError, match="vLLM refuses"):
        open_engine(EngineSection(name="vllm"), ModelSection(path=str(tmp_path)), tokenizer)
