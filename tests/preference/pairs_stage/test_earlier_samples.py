"""Samples of an earlier run are paired anew, or refused."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posttrain.errors import UserError
from posttrain.preference.pair_files import read_pairs
from posttrain.preference.pairs_stage import run_stage
from posttrain.recipe import (
    PairsSection,
)
from tests.preference.pairs_stage.conftest import LANGUAGE, MATH, columns, make_recipe, manifest, origin, reasoning


def test_samples_say_what_they_are_and_what_they_came_from(sampled, model_folder):
    samples = pq.read_table(f"{sampled.run}/samples.parquet").to_pylist()
    inputs = manifest(Path(sampled.run))["data"]
    ours = origin(model_folder)
    assert len(samples) == 16
    for one in samples:
        assert one["num_tokens"] == len(one["token_ids"]) > one["num_thinking_tokens"] > 0
        assert (one["model"], one["model_sha256"]) == (str(model_folder), inputs[str(model_folder)])
        assert (one["template_sha256"], one["vocabulary_sha256"]) == ours
        assert (one["mode"], one["language"]) == ("reasoning", "en")
        assert one["thinking"]
        assert one["answer"]
        assert one["reward"] == float(one["outcome"])
        assert json.loads(one["verdicts"])["math_answer"]["outcome"] is one["outcome"]
    assert len({one["prompt_sha256"] for one in samples}) == 1


def test_another_run_pairs_the_same_samples_by_other_rules_without_sampling(sampled, no_engine, model_folder):
    before = pq.read_table(f"{sampled.run}/samples.parquet")
    rules = replace(no_engine.pairs, min_correct_share=0.0, pairs_per_query=2, rejected_order="longer_first")
    run_stage(replace(no_engine, pairs=rules), resume=False)
    pairs = read_pairs(Path(no_engine.run) / "pairs.parquet", origin(model_folder))
    assert [pair["reason"] for pair in pairs] == ["longer", "wrong"] * 4
    assert (
        pq.read_table(f"{no_engine.run}/samples.parquet") == before == pq.read_table(f"{sampled.run}/samples.parquet")
    )
    assert f"{sampled.run}/samples.parquet/part-00000.parquet" in manifest(Path(no_engine.run))["data"]


def test_another_run_grades_the_same_samples_by_other_rewards(no_engine, model_folder):
    builder = PairsSection(builder="hybrid")
    run_stage(replace(no_engine, rewards=[MATH, LANGUAGE], pairs=builder), resume=False)
    pairs = read_pairs(Path(no_engine.run) / "pairs.parquet", origin(model_folder))
    assert {pair["rejected_text"] for pair in pairs} == {reasoning(1, 7, "es") + "[|endofturn|]"}
    assert {(pair["chosen_in_language"], pair["rejected_in_language"]) for pair in pairs} == {(True, False)}
    assert {one["reward"] for one in columns(Path(no_engine.run), "reward")} == {1.0, 2.0}


def test_the_same_rules_give_the_same_pairs(sampled, no_engine):
    run_stage(no_engine, resume=False)
    assert pq.read_table(f"{no_engine.run}/pairs.parquet") == pq.read_table(f"{sampled.run}/pairs.parquet")


def rewrite(run, **values):
    """Change columns of the samples of a run."""
    (file,) = Path(run, "samples.parquet").iterdir()
    pq.write_table(pa.Table.from_pylist([row | values for row in pq.read_table(file).to_pylist()]), file)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"model_sha256": "0" * 64}, "were made by another model"),
        ({"template_sha256": "0" * 64}, "were made with another chat template"),
        ({"vocabulary_sha256": "0" * 64}, "were made with another tokenizer"),
        ({"prompt_sha256": "0" * 64}, "query 0 of .* is another prompt"),
        ({"query": 0}, "has samples of 1 of 4 prompts"),
        ({"query": 9}, "query 9 of .* is another prompt"),
    ],
)
def test_samples_of_something_else_are_refused_before_anything_is_written(sampled, no_engine, values, problem):
    rewrite(sampled.run, **values)
    with pytest.raises(UserError, match=problem):
        run_stage(no_engine, resume=False)
    assert not Path(no_engine.run).exists()


def test_samples_of_another_decoding_are_refused(no_engine):
    decoding = replace(no_engine.decoding, temperature=0.5)
    with pytest.raises(UserError, match=r"decoding\.temperature 1\.0, the recipe says 0\.5"):
        run_stage(replace(no_engine, decoding=decoding), resume=False)


def test_a_folder_without_samples_is_refused(no_engine, tmp_path):
    with pytest.raises(UserError, match="where there are none; need the folder of a run"):
        run_stage(replace(no_engine, samples=str(tmp_path)), resume=False)


def test_sampling_goes_on_with_the_chunk_that_is_missing(tmp_path, model_folder, scripted, monkeypatch):
    engine = scripted(reasoning(1, 7), reasoning(1, 3))
    whole, generate = engine.generate, []

    def fail_at_the_third(prompts, decoding, *, seed, first_index):
        generate.append(first_index)
        if len(generate) == 3:
            raise RuntimeError("out of memory")
        return whole(prompts, decoding, seed=seed, first_index=first_index)

    monkeypatch.setattr(engine, "generate", fail_at_the_third)
    recipe = replace(make_recipe(tmp_path, model_folder, rows=7), chunk_size=2)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_stage(recipe, resume=False)
    run_stage(recipe, resume=True)
    assert generate == [0, 2, 4, 4, 6]
    assert len(read_pairs(tmp_path / "run" / "pairs.parquet", origin(model_folder))) == 7
