from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posttrain.errors import UserError
from posttrain.recipe import (
    STAGES,
    EvalRecipe,
    FilterRecipe,
    PrefRecipe,
    ReportRecipe,
    RLRecipe,
    SFTRecipe,
    load_recipe,
    make_config,
    parse_hub_path,
    resolved_yaml,
)
from posttrain.recipe.config import SAID_ELSEWHERE

MODEL = {"path": "${root}/base"}
DATA = {"sources": [{"path": "rows.jsonl", "mode": "reasoning"}, {"path": "more.jsonl"}]}
REWARDS = [{"use": "rewards.format:Format", "args": {"limit": 3}, "when": {"domain": ["math"]}, "weight": 0.5}]
COMMON = {"root": "runs/demo", "run": "${root}/here", "seed": 3}
RECIPES: dict[str, dict[str, Any]] = {
    "sft": COMMON
    | {
        "stage": "sft",
        "model": MODEL,
        "data": DATA | {"max_length": 256},
        "mixer": {"use": "data_mixers.by_tokens:ByTokens", "args": {"shares": {"reasoning": 1.5, "non_reasoning": 1}}},
        "trainer": {"learning_rate": 0.01, "max_steps": 5},
        "lora": {"r": 8},
    },
    "filter": COMMON
    | {
        "stage": "filter",
        "model": MODEL,
        "data": DATA,
        "decoding": {"temperature": 1.0, "max_new_tokens": 64},
        "rewards": REWARDS,
    },
    "model": COMMON | {"stage": "model"},
    "context": COMMON
    | {
        "stage": "context",
        "model": MODEL,
        "stages": [
            {"name": "1k", "length": 1024, "limit_tokens": 4e6, "slice_tokens": 5e5},
            {"name": "4k", "length": 4096, "limit_tokens": 8e6, "slice_tokens": 1e6, "rope_theta": 1e6},
        ],
        "replay": DATA | {"share": 0.2},
    },
    "rl": COMMON | {"stage": "rl", "model": MODEL, "data": DATA, "rewards": REWARDS, "engine": "transformers"},
    "pairs": COMMON
    | {
        "stage": "pairs",
        "model": MODEL,
        "data": DATA,
        "engine": {"name": "vllm", "max_model_len": 512},
        "decoding": {"temperature": 1.0, "max_new_tokens": 64, "samples": 8},
        "rewards": REWARDS,
        "pairs": {"builder": "shortest_correct"},
    },
    "pref": COMMON | {"stage": "pref", "model": MODEL, "pairs": ["${root}/pairs/pairs.parquet"]},
    "eval": COMMON
    | {
        "stage": "eval",
        "label": "after SFT",
        "model": MODEL,
        "data": DATA,
        "decodings": [
            {"name": "greedy", "mode": "reasoning", "temperature": 0, "max_new_tokens": 64},
            {"name": "T=0.6", "mode": "non_reasoning", "temperature": 0.6, "top_p": 0.95, "max_new_tokens": 64},
        ],
        "rewards": REWARDS,
    },
    "report": COMMON
    | {
        "stage": "report",
        "title": "Demo",
        "stages": [{"name": "sft", "run": "${root}/sft", "eval": "${root}/eval-sft"}],
    },
}


def written(folder: Path, content: dict[str, Any] | str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


def refusal(path: Path, overrides: tuple[str, ...] = (), stage: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides, stage)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what is read ---


@pytest.mark.parametrize("stage", RECIPES)
def test_recipe_of_each_stage_loads_as_its_class_and_survives_writing_out(tmp_path: Path, stage: str) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES[stage]), stage=stage)
    assert type(recipe) is STAGES[stage]
    assert recipe.run == "runs/demo/here"
    text = resolved_yaml(recipe)
    assert "${" not in text
    again = load_recipe(written(tmp_path, text, "again.yaml"))
    assert again == recipe
    assert resolved_yaml(again) == text


def test_interpolation_is_resolved_in_sections_lists_and_free_parts(tmp_path: Path) -> None:
    content = RECIPES["sft"] | {"trainer": {"report_to": ["${run}"], "note": "seed ${seed}, ${model.dtype}"}}
    recipe = load_recipe(written(tmp_path, content))
    assert isinstance(recipe, SFTRecipe)
    assert recipe.model.path == "runs/demo/base"
    assert recipe.trainer == {"report_to": ["runs/demo/here"], "note": "seed 3, float32"}


def test_escaped_dollar_brace_stays_text_through_writing_out(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["sft"] | {"trainer": {"note": r"\${no}"}}))
    assert isinstance(recipe, SFTRecipe)
    assert recipe.trainer == {"note": "${no}"}
    assert load_recipe(written(tmp_path, resolved_yaml(recipe))) == recipe


@pytest.mark.parametrize("text", ["1e-6", "1E-6", "1.0e-6", "0.000001"])
def test_exponent_without_a_dot_is_a_number_everywhere(tmp_path: Path, text: str) -> None:
    body = yaml.safe_dump(without(RECIPES["sft"], "trainer"))
    path = written(tmp_path, f"{body}trainer: {{learning_rate: {text}, betas: [{text}]}}\n")
    recipe = load_recipe(path, [f"mixer.args.shares.reasoning={text}", f"data.sources.0.weight={text}"])
    assert isinstance(recipe, SFTRecipe)
    assert recipe.trainer == {"learning_rate": 1e-6, "betas": [1e-6]}
    assert recipe.mixer.args["shares"]["reasoning"] == recipe.data.sources[0].weight == 1e-6


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(number=st.floats(min_value=1e-300, max_value=1e300))
def test_any_number_reads_back_as_itself(tmp_path: Path, number: float) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["sft"]), [f"trainer.learning_rate={number!r}"])
    again = load_recipe(written(tmp_path, resolved_yaml(recipe), "again.yaml"))
    assert isinstance(again, SFTRecipe)
    assert again.trainer["learning_rate"] == number


def test_recipe_cannot_be_changed_after_loading(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["sft"]))
    with pytest.raises(FrozenInstanceError):
        recipe.seed = 4  # type: ignore[misc]


def test_filter_is_the_papers_unless_the_recipe_says_otherwise(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["filter"]))
    assert isinstance(recipe, FilterRecipe)
    assert recipe.decoding.samples == 8
    assert (recipe.keep.pass_rate_above, recipe.keep.pass_rate_below) == (None, 1.0)
    other = load_recipe(written(tmp_path, RECIPES["filter"]), ["decoding.samples=4", "keep.pass_rate_below=null"])
    assert isinstance(other, FilterRecipe)
    assert (other.decoding.samples, other.keep.pass_rate_below) == (4, None)


def test_engine_may_be_given_by_its_name_alone(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RECIPES["eval"] | {"engine": "transformers"}))
    assert isinstance(recipe, EvalRecipe)
    assert (recipe.engine.name, recipe.engine.memory_gb) == ("transformers", 1.0)


# --- overrides ---


def test_overrides_reach_sections_lists_free_parts_and_interpolations_in_order(tmp_path: Path) -> None:
    overrides = [
        "root=elsewhere",
        "seed=1",
        "seed=2",
        "decodings.1.temperature=0.7",
        "rewards.0.args.limit=9",
        "engine.max_num_seqs=4",
        "model.chat_template=null",
        "rewards.0.name=a=b",
    ]
    recipe = load_recipe(written(tmp_path, RECIPES["eval"]), overrides)
    assert isinstance(recipe, EvalRecipe)
    assert (recipe.run, recipe.seed, recipe.engine.max_num_seqs) == ("elsewhere/here", 2, 4)
    assert [decoding.temperature for decoding in recipe.decodings] == [0.0, 0.7]
    assert (recipe.rewards[0].args, recipe.rewards[0].name) == ({"limit": 9}, "a=b")


def test_override_supplies_a_key_the_file_lacks(tmp_path: Path) -> None:
    path = written(tmp_path, without(RECIPES["rl"], "run"))
    assert "missing run" in refusal(path)
    recipe = load_recipe(path, ["run=x", "lora.r=4"])
    assert isinstance(recipe, RLRecipe)
    assert (recipe.run, recipe.lora) == ("x", {"r": 4})


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("seed", ["'seed'", "section.key=value"]),
        ("=3", ["section.key=value"]),
        ("data..path=3", ["section.key=value"]),
        ("sed=3", ["'sed=3'", "unknown key 'sed'", "did you mean 'seed'?"]),
        ("max_length=3", ["unknown key 'max_length'", "did you mean 'data.max_length'?"]),
        ("beta=3", ["unknown key 'beta'; if it is a setting of the trainer, write 'trainer.beta'"]),
        ("modle.path=x", ["unknown key 'modle'", "did you mean 'model'?"]),
        ("model.dtpe=x", ["unknown key 'model.dtpe'", "did you mean 'model.dtype'?"]),
        ("data.sources.1.wieght=2", ["unknown key 'data.sources.1.wieght'", "did you mean 'data.sources.1.weight'?"]),
        ("data.sources.7.weight=2", ["data.sources.7.weight", "out of range"]),
        ("data.sources.first.weight=2", ["data.sources.first.weight", "'first'"]),
        ("root=[1", ["'[1'", "not valid YAML"]),
        ("root=${", ["root=${"]),
        ("stage=rl", ["stage: got 'rl'", "sft"]),
        ("trainer=[1]", ["trainer=[1]"]),
    ],
)
def test_bad_override_is_named_with_the_nearest_key(tmp_path: Path, override: str, parts: list[str]) -> None:
    message = refusal(written(tmp_path, RECIPES["sft"]), (override,))
    for part in ["override", *parts]:
        assert part in message


# --- keys ---


@pytest.mark.parametrize(
    ("changed", "unknown", "nearest"),
    [
        ({"trainr": {}}, "trainr", "trainer"),
        ({"model": {"path": "x", "dtyp": "float32"}}, "model.dtyp", "model.dtype"),
        ({"data": {"sources": [{"path": "x"}, {"pth": "y"}]}}, "data.sources.1.pth", "data.sources.1.path"),
        ({"mixer": {"use": "a:b", "arg": {}}}, "mixer.arg", "mixer.args"),
    ],
)
def test_unknown_key_is_refused_with_file_path_and_nearest_key(
    tmp_path: Path, changed: dict[str, Any], unknown: str, nearest: str
) -> None:
    path = written(tmp_path, RECIPES["sft"] | changed)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert f"unknown key {unknown!r}, did you mean {nearest!r}?" in message


def test_unknown_key_without_a_near_one_lists_the_known_ones_and_guesses_nothing(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, RECIPES["sft"] | {"model": {"path": "x", "zzzz": 1}}))
    assert "'model.zzzz'" in message
    assert "path, dtype, attn_implementation, chat_template" in message
    assert "did you mean" not in message


def test_key_of_another_stage_is_unknown(tmp_path: Path) -> None:
    assert "'rewards'" in refusal(written(tmp_path, RECIPES["sft"] | {"rewards": REWARDS}))
    assert "'data.max_length'" in refusal(written(tmp_path, RECIPES["rl"] | {"data": DATA | {"max_length": 3}}))


@pytest.mark.parametrize(
    ("stage", "removed", "named"),
    [
        ("sft", "run", "run"),
        ("sft", "model", "model.path"),
        ("sft", "mixer", "mixer.use"),
        ("rl", "data", "data.sources"),
        ("rl", "rewards", "rewards"),
        ("pairs", "decoding", "decoding.max_new_tokens, decoding.temperature"),
        ("eval", "label", "label"),
        ("report", "title", "title"),
    ],
)
def test_missing_required_key_is_named(tmp_path: Path, stage: str, removed: str, named: str) -> None:
    path = written(tmp_path, without(RECIPES[stage], removed))
    assert refusal(path).startswith(f"{path}: missing {named}; ")


def test_missing_key_inside_a_list_is_named_with_its_place(tmp_path: Path) -> None:
    content = RECIPES["sft"] | {"data": {"sources": [{"path": "x"}, {"weight": 2}]}}
    assert "missing data.sources.1.path;" in refusal(written(tmp_path, content))


# --- types and values ---


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


# --- files ---


def test_folder_in_the_place_of_a_recipe_is_told_with_its_recipes(tmp_path: Path) -> None:
    written(tmp_path, RECIPES["sft"], "b.yaml")
    written(tmp_path, RECIPES["rl"], "a.yaml")
    assert refusal(tmp_path) == f"{tmp_path} is a folder (with a.yaml, b.yaml); pass the path of a recipe"


def test_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    written(tmp_path, RECIPES["sft"], "unified_sft.yaml")
    message = refusal(tmp_path / "unified_stf.yaml")
    assert str(tmp_path / "unified_stf.yaml") in message
    assert "did you mean 'unified_sft.yaml'?" in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("stage: sft\nmodel: {path: x\nrun: y\n", "line 3"),
        ("stage: sft\n\trun: y\n", "line 2"),
        ("stage: sft\nrun: x\nrun: y\n", "duplicate key run"),
        ("stage: sft\nrun: !!python/object:os.system x\n", "line 2"),
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("- sft\n", "a list"),
        ("3\n", "key: value"),
        ("run: x\n", "missing stage"),
        ("stage: sftt\n", "'sftt', did you mean 'sft'?"),
        ("stage: [sft]\n", "['sft']"),
    ],
)
def test_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, part: str) -> None:
    path = written(tmp_path, text)
    message = refusal(path)
    assert message.startswith(str(path))
    assert part in message


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes("stage: sft # größer".encode("latin-1"))
    assert "UTF-8" in refusal(path)


def test_recipe_of_another_stage_names_the_right_command(tmp_path: Path) -> None:
    path = written(tmp_path, RECIPES["rl"])
    message = refusal(path, stage="sft")
    assert f"{path} is for stage rl, the command is sft" in message
    assert f"posttrain rl {path}" in message


# --- sources on the hub ---

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize("stage", ["sft", "rl", "eval"])
def test_pinned_hub_data_set_is_a_source_of_every_stage(tmp_path: Path, stage: str) -> None:
    source = {"path": f"hub:owner/na-me_1.0@{COMMIT}", "config": "main", "split": "test"}
    recipe = load_recipe(written(tmp_path, RECIPES[stage] | {"data": {"sources": [source]}}))
    assert not isinstance(recipe, PrefRecipe | ReportRecipe)
    assert parse_hub_path(recipe.data.sources[0].path) == ("owner/na-me_1.0", COMMIT)
    assert (recipe.data.sources[0].config, recipe.data.sources[0].split) == ("main", "test")


def test_other_paths_are_not_on_the_hub() -> None:
    assert parse_hub_path("data/hub:x@main") is None


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ({"path": "hub:owner/name"}, "data.sources.0.path: got no revision in 'hub:owner/name', need the 40"),
        ({"path": "hub:owner/name@main"}, "got revision 'main' in"),
        ({"path": "hub:owner/name@v1.0"}, "got revision 'v1.0' in"),
        ({"path": f"hub:owner/name@{COMMIT[:12]}"}, f"got revision '{COMMIT[:12]}' in"),
        ({"path": f"hub:@{COMMIT}"}, "need hub:owner/name@revision"),
        ({"path": f"hub:a/b/c@{COMMIT}"}, "need hub:owner/name@revision"),
        ({"path": "rows.jsonl", "split": "test"}, "data.sources.0.split: got 'test', need it for hub: paths only"),
        ({"path": "rows.jsonl", "config": "a"}, "data.sources.0.config: got 'a', need it for hub: paths only"),
    ],
)
def test_hub_data_set_that_is_not_pinned_is_refused(tmp_path: Path, source: dict[str, str], part: str) -> None:
    assert part in refusal(written(tmp_path, RECIPES["pairs"] | {"data": {"sources": [source]}}))


# --- free sections ---


@dataclass
class LibraryConfig:
    output_dir: str = "out"
    learning_rate: float = 1e-3
    max_length: int | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.learning_rate > 1:
            raise ValueError("learning_rate is\ntoo large")
        if self.note == "type":
            raise TypeError("note has a wrong type")


def config_refusal(section: dict[str, Any], **fixed: Any) -> str:
    with pytest.raises(UserError) as caught:
        make_config(LibraryConfig, section, "trainer", **fixed)
    return str(caught.value)


def test_free_section_and_fixed_values_make_the_config() -> None:
    config = make_config(LibraryConfig, {"learning_rate": 1, "max_length": None}, "trainer", output_dir="runs/x")
    assert config == LibraryConfig(output_dir="runs/x", learning_rate=1, max_length=None)


def test_unknown_key_of_a_free_section_names_the_nearest_field() -> None:
    message = config_refusal({"learning_rat": 1})
    assert message.startswith("trainer: unknown key 'learning_rat', did you mean 'learning_rate'?")
    assert "LibraryConfig" in message


def test_key_the_stage_sets_names_the_recipe_key_to_use() -> None:
    assert "use the recipe's `run`" in config_refusal({"output_dir": "a"}, output_dir="b")
    assert "use the recipe's `data.max_length`" in config_refusal({"max_length": 4}, max_length=8)
    assert "trainer.note: got 'a'" in config_refusal({"note": "a"}, note="b")
    assert "leave it out, it is 'b'" in config_refusal({"note": "a"}, note="b")


@pytest.mark.parametrize("value", ["1e-6", "fast", [1e-6], {"a": 1}])
def test_text_for_a_number_in_a_free_section_is_refused(value: Any) -> None:
    assert config_refusal({"learning_rate": value}) == f"trainer.learning_rate: got {value!r}, need a number"


@pytest.mark.parametrize("key", ["per_device_train_batch_size", "gradient_accumulation_steps"])
def test_size_below_1_is_refused_where_the_library_would_take_it(key: str) -> None:
    from trl import SFTConfig

    with pytest.raises(UserError, match=rf"trainer\.{key}: got 0, need at least 1"):
        make_config(SFTConfig, {key: 0}, "trainer")


def test_refusal_of_the_config_itself_becomes_one_line_with_the_section() -> None:
    assert config_refusal({"learning_rate": 2}) == "trainer: learning_rate is too large"
    assert config_refusal({"note": "type"}) == "trainer: note has a wrong type"


@pytest.mark.slow
def test_every_key_said_elsewhere_is_a_field_of_a_trainers_config() -> None:
    from trl import DPOConfig, SFTConfig

    from posttrain.rl import AGAPOConfig

    known = {item.name for cls in (SFTConfig, AGAPOConfig, DPOConfig) for item in fields(cls)}
    assert set(SAID_ELSEWHERE) <= known


@pytest.mark.slow
def test_trl_config_takes_a_free_section_and_its_refusals_are_ours(tmp_path: Path) -> None:
    from trl import SFTConfig

    section = {"learning_rate": 1e-6, "max_steps": 3, "use_cpu": True, "report_to": []}
    config = make_config(SFTConfig, section, "trainer", output_dir=str(tmp_path), bf16=False)
    assert (config.learning_rate, config.max_steps, config.output_dir) == (1e-6, 3, str(tmp_path))
    with pytest.raises(UserError, match="did you mean 'num_train_epochs'"):
        make_config(SFTConfig, {"num_train_epoch": 1}, "trainer")
    with pytest.raises(UserError, match="trainer: linnear is not a valid SchedulerType"):
        make_config(SFTConfig, {"lr_scheduler_type": "linnear"}, "trainer", output_dir=str(tmp_path))


def test_evaluation_needs_questions_of_some_kind(tmp_path: Path) -> None:
    bare = without(without(RECIPES["eval"], "data"), "rewards")
    assert "data, benchmarks: got neither" in refusal(written(tmp_path, bare))
    asked = bare | {"benchmarks": [{"use": "demo", "args": {"size": 3}}]}
    assert "rewards: got 1 and no data, which they grade" in refusal(written(tmp_path, asked | {"rewards": REWARDS}))
    recipe = load_recipe(written(tmp_path, asked))
    assert recipe == load_recipe(written(tmp_path, resolved_yaml(recipe), "again.yaml"))
