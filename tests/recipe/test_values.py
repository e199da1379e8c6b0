"""Values of a wrong type or out of bounds."""

from pathlib import Path

import pytest

from posttrain.recipe import (
    load_recipe,
)
from tests.recipe.examples import RECIPES, refusal, written


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("seed=abc", ["seed: got 'abc'", "a whole number"]),
        ("seed=1.5", ["seed: got 1.5", "a whole number"]),
        ("seed=null", ["seed: got null", "a whole number"]),
        ("run=yes", ["run: got true", "text"]),
        ("run=[a]", ["run: got a list", "text"]),
        ("model=x", ["model: got 'x'", "a section (path, dtype"]),
        ("data.sources=x", ["data.sources: got 'x'", "a list, each entry a section (path"]),
        ("data.sources=[3]", ["data.sources.0: got 3", "a section (path"]),
        ("data.sources.1.weight=heavy", ["data.sources.1.weight: got 'heavy'", "a number"]),
        ("data.sources.1.mode=reasonning", ["data.sources.1.mode: got 'reasonning', did you mean 'reasoning'?"]),
        ("data.max_length=long", ["data.max_length: got 'long'", "a whole number or null"]),
        ("model.dtype=bfloat", ["model.dtype: got 'bfloat', did you mean 'bfloat16'?", "float32, bfloat16, float16"]),
        ("trainer=null", ["trainer: got null", "a section"]),
        ("trainer={1: 2}", ["trainer: got a section", "keys are text"]),
        ("lora=3", ["lora: got 3", "a section", "or null"]),
    ],
)
def test_wrong_type_is_refused_with_key_value_and_need(tmp_path: Path, override: str, parts: list[str]) -> None:
    message = refusal(written(tmp_path, RECIPES["sft"]), (override,))
    for part in parts:
        assert part in message


def test_reward_condition_without_a_list_is_refused(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, RECIPES["rl"] | {"rewards": [{"use": "a:b", "when": {"domain": "math"}}]}))
    assert "rewards.0.when: got a section" in message
    assert "each value a list" in message


@pytest.mark.parametrize(
    ("stage", "override", "parts"),
    [
        ("sft", "seed=-1", ["seed: got -1", "from 0"]),
        ("sft", "data.sources=[]", ["data.sources", "at least one entry"]),
        ("sft", "data.sources.0.weight=0", ["data.sources.0.weight: got 0.0", "above 0"]),
        ("sft", "data.sources.0.weight=.nan", ["data.sources.0.weight: got nan", "above 0"]),
        ("sft", "data.max_length=0", ["data.max_length: got 0", "at least 1"]),
        ("sft", "data.pack_tokens=0", ["data.pack_tokens: got 0", "at least 1"]),
        ("sft", "validation={sources: [{path: x, split: test}]}", ["validation.sources.0.split", "hub: paths only"]),
        ("sft", "validation={sources: []}", ["validation.sources", "at least one entry"]),
        ("sft", "trainer.eval_strategy=steps", ["trainer.eval_strategy: got 'steps'", "no `validation` section"]),
        ("sft", "mixer.args.shares.reasoning=0", ["mixer.args.shares.reasoning: got 0", "above 0"]),
        ("sft", "mixer.args.shares.reasoning=half", ["mixer.args.shares.reasoning: got 'half'", "above 0"]),
        (
            "sft",
            "mixer.args.shares.reasoning={share: 1.5, domains: {math: 2, code: 0}}",
            ["mixer.args.shares.reasoning.domains.code: got 0", "above 0"],
        ),
        ("filter", "keep.pass_rate_below=0", ["keep.pass_rate_below: got 0.0", "above 0 and at most 1"]),
        ("filter", "decoding.thinking_budget=64", ["decoding.thinking_budget: got 64", "max_new_tokens, 64, for the"]),
        ("eval", "decodings.1.thinking_budget=99", ["decodings.1.thinking_budget: got 99", "need less, or null"]),
        ("filter", "keep.pass_rate_above=1", ["keep.pass_rate_above: got 1.0", "from 0 and below 1"]),
        (
            "filter",
            "keep={pass_rate_above: 0.5, pass_rate_below: 0.5}",
            ["keep.pass_rate_above: got 0.5", "a number below keep.pass_rate_below, 0.5"],
        ),
        ("filter", "chunk_size=0", ["chunk_size: got 0", "at least 1"]),
        ("rl", "engine=vlm", ["engine: got 'vlm', did you mean 'vllm'?", "vllm, transformers"]),
        ("rl", "rewards=[]", ["rewards", "at least one entry"]),
        ("rl", "rewards.0.weight=.inf", ["rewards.0.weight: got inf", "finite"]),
        ("rl", "rewards.0.style=torch", ["rewards.0.style: got 'torch'", "attempt, trl"]),
        ("pairs", "engine.name=llama", ["engine.name: got 'llama'", "vllm, transformers"]),
        ("pairs", "engine.memory_gb=0", ["engine.memory_gb: got 0.0", "above 0"]),
        ("pairs", "decoding.samples=0", ["decoding.samples: got 0", "at least 1"]),
        ("pairs", "decoding.temperature=-0.1", ["decoding.temperature: got -0.1", "at least 0"]),
        ("pairs", "decoding.top_p=0", ["decoding.top_p: got 0.0", "above 0 and at most 1"]),
        ("pairs", "decoding.top_p=1.01", ["decoding.top_p: got 1.01", "at most 1"]),
        ("pairs", "pairs.builder=shortest", ["pairs.builder: got 'shortest'", "shortest_correct, hybrid"]),
        ("pairs", "pairs.min_correct_share=1.2", ["pairs.min_correct_share: got 1.2", "from 0 to 1"]),
        ("pairs", "pairs.reuse_stage1=0.2", ["pairs.reuse_stage1: got 0.2", "pairs.stage1"]),
        ("pref", "pairs=[]", ["pairs: got nothing", "at least one pairs.parquet for objective simper"]),
        ("pref", "objective=group_simper", ["samples: got nothing", "samples.parquet for objective group_simper"]),
        ("pref", "objective=ipo", ["objective: got 'ipo'", "simper, group_simper, dpo, simpo"]),
        ("eval", "decodings=[]", ["decodings", "at least one entry"]),
        ("eval", "decodings.1.mode=null", ["decodings.1.mode", "reasoning, non_reasoning"]),
        ("eval", "decodings.1.name=greedy", ["decodings.1.name: got 'greedy' a second time"]),
        ("eval", "rewards=[]", ["rewards: got []", "grades `data`"]),
        ("eval", "thinking_budgets=[8,8]", ["thinking_budgets.1: got 8 a second time"]),
        ("eval", "thinking_budgets=[null,64]", ["thinking_budgets.1: got 64", "below max_new_tokens", "64"]),
        ("eval", "chunk_size=0", ["chunk_size: got 0", "at least 1"]),
        ("report", "stages=[]", ["stages", "at least one entry"]),
    ],
)
def test_value_out_of_bounds_is_refused(tmp_path: Path, stage: str, override: str, parts: list[str]) -> None:
    message = refusal(written(tmp_path, RECIPES[stage]), (override,))
    for part in [override, *parts]:
        assert part in message


@pytest.mark.parametrize("key", ["per_device_train_batch_size", "per_device_eval_batch_size"])
def test_batch_of_several_packs_is_refused(tmp_path: Path, key: str) -> None:
    overrides = ("data.pack_tokens=512", f"trainer.{key}=4")
    assert f"trainer.{key}: got 4, need 1 with data.pack_tokens" in refusal(
        written(tmp_path, RECIPES["sft"]), overrides
    )


@pytest.mark.parametrize("override", ["decoding.top_p=1", "decoding.temperature=0", "pairs.reuse_stage1=0"])
def test_value_on_the_bound_is_accepted(tmp_path: Path, override: str) -> None:
    load_recipe(written(tmp_path, RECIPES["pairs"]), [override])


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("root=${run}", "Recursive interpolation"),
        ("run=${nowhere}", "run: Interpolation key 'nowhere' not found"),
        ("seed=${model.path}", "seed: "),
    ],
)
def test_interpolation_that_cannot_be_resolved_is_refused(tmp_path: Path, override: str, part: str) -> None:
    assert part in refusal(written(tmp_path, RECIPES["sft"]), (override,))
