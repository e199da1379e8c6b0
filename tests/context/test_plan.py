"""What a context recipe says before a model is loaded: RoPE, documents, shares, gates, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posttrain.chat import encode_prompt, render_prompt
from posttrain.check import check_recipe
from posttrain.context.plan import StagePlan, plan_stages, short_rows
from posttrain.errors import UserError
from posttrain.models.load import load_model
from posttrain.recipe import ContextRecipe, load_recipe


def load(path: Path, *overrides: str) -> ContextRecipe:
    recipe = load_recipe(path, overrides)
    assert isinstance(recipe, ContextRecipe)
    return recipe


@pytest.fixture
def plans(recipe_file: Path, tokenizer: Any) -> list[StagePlan]:
    return plan_stages(load(recipe_file), tokenizer)


# --- what is trained ---


def test_tokens_are_shared_out_as_asked_and_end_at_the_limit(plans: list[StagePlan]) -> None:
    for plan in plans:
        rows = plan.samples.rows
        tokens = plan.samples.num_tokens
        assert plan.got["replay"].share == pytest.approx(0.2, abs=300 / tokens)
        is_replay = [row.domain != "long_context" for row in rows]
        replayed = sum(len(row.input_ids) for row, yes in zip(rows, is_replay, strict=True) if yes)
        assert plan.got["replay"].share == pytest.approx(replayed / tokens)
        assert plan.stage.limit_tokens - 600 < tokens <= plan.stage.limit_tokens
        assert plan.tokens[-1] == tokens


def test_documents_fill_the_length_and_no_row_is_longer(plans: list[StagePlan]) -> None:
    for plan in plans:
        lengths = [len(row.input_ids) for row in plan.samples.rows if row.domain == "long_context"]
        assert max(lengths) <= plan.stage.length
        assert min(lengths) >= 0.8 * plan.stage.length - 1
        assert np.ptp(lengths) > 0.1 * plan.stage.length


def test_tokens_after_each_step_are_those_of_its_packs(recipe_file: Path, tokenizer: Any) -> None:
    plan = plan_stages(load(recipe_file, "trainer.gradient_accumulation_steps=3"), tokenizer)[0]
    assert len(plan.samples) == 3 * plan.num_steps
    ends = plan.samples.bounds[::3]
    lengths = [len(row.input_ids) for row in plan.samples.rows]
    assert plan.tokens.tolist() == [sum(lengths[:end]) for end in ends]


def test_same_seed_same_stream_and_another_seed_another(recipe_file: Path, tokenizer: Any) -> None:
    first, again, other = (
        plan_stages(load(recipe_file, f"seed={seed}"), tokenizer)[0].samples.rows[0] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_short_group_starts_again_until_the_limit(recipe_file: Path, tokenizer: Any, demo_files: Any) -> None:
    alone = f"long={{share: 1.0, sources: [{{path: {demo_files['sft_non_reasoning']}}}]}}"
    recipe = load(recipe_file, alone, "documents=null", "replay=null")
    plan = plan_stages(recipe, tokenizer)[0]
    assert plan.got == {"long": (len(plan.samples.rows), 1.0)}
    assert len(plan.samples.rows) > 90  # rows in the file
    assert plan.samples.num_tokens > recipe.stages[0].limit_tokens - 600


# --- the gate ---


def test_cell_is_as_long_as_it_says_with_template_and_answer(plans: list[StagePlan], tokenizer: Any) -> None:
    for plan in plans:
        assert len(plan.questions) == 4
        for question in plan.questions:
            prompt = render_prompt(tokenizer, question.row["messages"], "non_reasoning")
            assert len(encode_prompt(tokenizer, prompt)) + 40 == question.cell["length"]
        assert {question.cell["length"] for question in plan.questions} == {
            round(0.95 * plan.stage.length),
            plan.stage.length,
        }


def test_nothing_that_the_gate_asks_for_is_in_a_document(plans: list[StagePlan], tokenizer: Any) -> None:
    for plan in plans:
        trained = tokenizer.decode([token for row in plan.samples.rows for token in row.input_ids])
        assert not any(question.row["answer"] in trained for question in plan.questions)


# --- RoPE ---


def rotary(model: Any) -> Any:
    return model.model.rotary_emb.inv_freq


def test_theta_reaches_the_rotary_embedding_and_global_layers_stay_without_rope(
    recipe_file: Path, tokenizer: Any, plans: list[StagePlan]
) -> None:
    recipe = load(recipe_file)
    for plan, theta in zip(plans, (2e4, 1e5), strict=True):
        model = load_model(recipe.model, tokenizer, plan.config)
        assert rotary(model).tolist() == pytest.approx([theta ** (-pair / 8) for pair in range(8)])
        assert model.config.max_position_embeddings == plan.stage.length
        assert [layer.self_attn.is_sliding for layer in model.model.layers] == [True, True, True, False]
        assert model.config.layer_types == load_model(recipe.model, tokenizer).config.layer_types
    kept = load_model(recipe.model, tokenizer)
    assert rotary(kept).tolist() == pytest.approx([1e4 ** (-pair / 8) for pair in range(8)])


def test_scaling_reaches_the_rotary_embedding(recipe_file: Path, tokenizer: Any) -> None:
    recipe = load(recipe_file, "stages.0.rope_scaling={rope_type: linear, factor: 4.0}")
    short, long = plan_stages(recipe, tokenizer)
    model = load_model(recipe.model, tokenizer, short.config)
    assert rotary(model).tolist() == pytest.approx([2e4 ** (-pair / 8) / 4 for pair in range(8)])
    assert long.config.rope_parameters == {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e5}  # kept on


def test_yarn_starts_from_the_length_of_the_stage_before(recipe_file: Path, tokenizer: Any) -> None:
    recipe = load(recipe_file, "stages.1.rope_scaling={rope_type: yarn, factor: 1.6}")
    config = plan_stages(recipe, tokenizer)[1].config
    assert config.rope_parameters["original_max_position_embeddings"] == 160
    assert config.max_position_embeddings == 256


# --- what is refused ---


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("stages.1.length=160", r"stages\.1\.length: got 160, need more than the 160 of the stage before"),
        ("stages.1.name=short", r"stages\.1\.name: got 'short' a second time"),
        ("stages.1.name=a/b", r"stages\.1\.name: got 'a/b', need the name of a folder"),
        ("stages.0.slice_tokens=4e4", r"stages\.0\.slice_tokens: got 40000, need at most limit_tokens, 30000"),
        ("pack_tokens=255", "pack_tokens: got 255, need at least the longest stage, 256"),
        ("gate.lengths=[0.5,1.5]", r"gate\.lengths\.1: got 1\.5, need a share above 0 and at most 1"),
        ("gate.depths=[-0.1]", r"gate\.depths\.0: got -0\.1, need a share from 0 to 1"),
        ("replay.share=1.0", r"got replay\.share 1, need less than 1 in sum, for `documents`"),
        ("documents=null", r"got replay\.share 0\.2, need 1 in sum without `documents`"),
        ("trainer.per_device_train_batch_size=2", r"trainer\.per_device_train_batch_size: got 2, need 1"),
        ("stages.0.trainer={per_device_train_batch_size: 2}", r"stages\.0\.trainer\.per_device_train_batch_size"),
    ],
)
def test_recipe_that_makes_no_sense_is_refused(recipe_file: Path, override: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        load(recipe_file, override)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("stages.0.rope_scaling={rope_type: yarnn}", r"stages\.0 \(short\): rope_scaling: .*yarnn"),
        ("stages.0.rope_scaling={rope_type: linear, factor: x}", r"stages\.0 \(short\): rope_scaling: .*factor"),
        ("stages.0.rope_scaling={rope_type: linear, factr: 2}", r"stages\.0 \(short\): rope_scaling: .*factr"),
        ("gate.lengths=[0.2]", r"stages\.0 \(short\): gate: .*the question alone takes"),
        ("gate.tasks=[nedle]", r"stages\.0 \(short\): gate: .*nedle"),
        ("documents.tasks=[nedle]", r"stages\.0 \(short\): documents: .*nedle"),
        ("documents.shortest=0.1", r"stages\.0 \(short\): documents: .*the question alone takes"),
        ("trainer.max_steps=9", r"trainer\.max_steps: got 9, .* `stages\.0\.limit_tokens`"),
        ("trainer.num_train_epochs=2", r"trainer\.num_train_epochs: got 2"),
        ("trainer.gradient_accumulation_steps=999", "packs within limit_tokens, one step takes 999"),
        ("replay.sources.0.path=none.jsonl", r"'none\.jsonl' does not exist"),
        ("validation.sources.0.path=none.jsonl", r"'none\.jsonl' does not exist"),
    ],
)
def test_check_refuses_what_the_stage_would(recipe_file: Path, override: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        check_recipe(load(recipe_file, override))


def test_check_tells_the_plan_of_every_stage(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_recipe(load(recipe_file))
    said = capsys.readouterr().out
    assert "160 tokens long" in said
    assert "256 tokens long" in said
    assert re.search(r"[\d,]+ rows of documents \((79|80)\.\d%\), [\d,]+ rows of replay", said)
    assert "gates of 4 questions" in said
    assert "49 rows, whose loss may rise by 900.0%" in said


def test_watched_rows_are_those_that_the_first_stage_has_room_for(recipe_file: Path, tokenizer: Any) -> None:
    rows = short_rows(load(recipe_file), tokenizer)
    assert all(len(row.input_ids) <= 160 for row in rows)
    assert len(rows) == 49  # of 60
    assert len(short_rows(load(recipe_file, "stages.0.length=255"), tokenizer)) == 60
    assert short_rows(load(recipe_file, "validation=null"), tokenizer) == []
