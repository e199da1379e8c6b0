"""From prompts to a file of pairs, and its report."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from posttrain.errors import UserError
from posttrain.grading import GradingPool
from posttrain.inference import sampling
from posttrain.preference.pair_files import read_pairs, write_pairs
from posttrain.preference.pairs_stage import draw_reused, run_stage
from posttrain.recipe import (
    Decoding,
    ModelSection,
)
from tests.preference.pairs_stage.conftest import DIRECT, LANGUAGE, MATH, make_recipe, manifest, origin, reasoning


def test_stage_1_writes_the_ids_that_were_sampled(tmp_path, model_folder, scripted):
    right = [reasoning(steps, 7) for steps in (2, 1, 6, 2, 2, 2)]
    engine = scripted(*right, reasoning(1, 3), reasoning(2, 4))
    run_stage(make_recipe(tmp_path, model_folder), resume=False)

    pairs = read_pairs(tmp_path / "run" / "pairs.parquet", origin(model_folder))
    assert [pair["query"] for pair in pairs] == [0, 1, 2, 3]
    tokenizer = engine.tokenizer
    for pair in pairs:
        assert pair["chosen_ids"] == [*tokenizer(right[1])["input_ids"], tokenizer.eos_token_id]
        assert pair["chosen_text"] == right[1] + tokenizer.eos_token
        assert tokenizer.decode(pair["rejected_ids"]) == pair["rejected_text"]
        assert tokenizer.decode(pair["prompt_ids"]).endswith("3+4?[|endofturn|]\n[|assistant|]\n<think>\n")
        assert json.loads(pair["prompt"]) == [{"role": "user", "content": "3+4?"}]
        assert (pair["mode"], pair["language"], pair["reused"]) == ("reasoning", "en", False)
        assert pair["chosen_outcome"] is True
        assert pair["rejected_outcome"] is (pair["reason"] == "longer")
    assert len({pair["rejected_text"] for pair in pairs}) > 1  # the draws of each query are its own
    assert engine.is_closed

    samples = pq.read_table(tmp_path / "run" / "samples.parquet").to_pylist()
    assert len(samples) == 4 * 8
    assert samples[6]["outcome"] is False
    assert json.loads(samples[6]["verdicts"])["math_answer"]["extracted"] == "3"
    notes = manifest(tmp_path / "run")["notes"]["pairs"]
    assert (notes["queries"], notes["pairs"], notes["skipped"]) == (4, 4, {})
    shown = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert {record["side"] for record in shown if record["outcome"]} >= {"chosen", None}
    assert len(shown) == 32


@pytest.mark.parametrize(("mode", "ending"), [(None, "<think>\n\n</think>\n\n"), ("reasoning", "<think>\n")])
def test_each_row_is_asked_in_its_own_mode_unless_the_decoding_says_one(tmp_path, model_folder, scripted, mode, ending):
    engine = scripted(reasoning(1, 7), DIRECT["en"].format(3))
    recipe = make_recipe(tmp_path, model_folder, mode="non_reasoning")
    decoding = Decoding(mode=mode, temperature=1.0, max_new_tokens=100, samples=2)
    run_stage(replace(recipe, decoding=decoding), resume=False)
    assert all(prompt.endswith("[|assistant|]\n" + ending) for prompt in engine.prompts)
    modes = {pair["mode"] for pair in read_pairs(tmp_path / "run" / "pairs.parquet", origin(model_folder))}
    assert modes == {mode or "non_reasoning"}


def test_stage_2_prefers_the_language_of_the_question(tmp_path, model_folder, scripted):
    scripted(*(DIRECT[name].format(7) for name in ("en", "ko", "es")), DIRECT["ko"].format(3))
    recipe = make_recipe(
        tmp_path, model_folder, mode="non_reasoning", language="ko", rewards=(MATH, LANGUAGE), builder="hybrid"
    )
    run_stage(recipe, resume=False)
    pairs = read_pairs(tmp_path / "run" / "pairs.parquet", origin(model_folder))
    assert {pair["reason"] for pair in pairs} == {"language"}
    assert {pair["chosen_text"] for pair in pairs} == {DIRECT["ko"].format(7) + "[|endofturn|]"}
    assert manifest(tmp_path / "run")["notes"]["pairs"]["both_correct"] == 1


def test_no_pair_at_all_is_an_error_with_the_counts(tmp_path, model_folder, scripted):
    scripted(reasoning(1, 3), reasoning(2, 4))
    with pytest.raises(UserError, match=r"got 4 queries and no pair \(4 no_correct\)"):
        run_stage(make_recipe(tmp_path, model_folder), resume=False)
    assert manifest(tmp_path / "run")["status"] == "failed"


def test_a_second_attempt_shows_each_sample_once(tmp_path, model_folder, scripted):
    scripted(reasoning(1, 3), reasoning(2, 4))
    for resume in (False, True):
        with pytest.raises(UserError, match="no pair"):
            run_stage(make_recipe(tmp_path, model_folder), resume=resume)
    assert len((tmp_path / "run" / "samples.jsonl").read_text().splitlines()) == 4 * 2


def test_samples_of_an_interrupted_run_are_not_sampled_again(tmp_path, model_folder, scripted, monkeypatch):
    def fail(*_):
        raise RuntimeError("the grader is broken")

    scripted(reasoning(1, 7), reasoning(1, 3))
    monkeypatch.setattr(GradingPool, "grade_all", fail)
    with pytest.raises(RuntimeError, match="the grader is broken"):
        run_stage(make_recipe(tmp_path, model_folder), resume=False)
    monkeypatch.undo()
    monkeypatch.setattr(sampling, "open_engine", fail)
    run_stage(make_recipe(tmp_path, model_folder), resume=True)
    pairs = read_pairs(tmp_path / "run" / "pairs.parquet", origin(model_folder))
    assert {(pair["chosen_text"], pair["reason"]) for pair in pairs} == {(reasoning(1, 7) + "[|endofturn|]", "wrong")}
    assert manifest(tmp_path / "run")["status"] == "finished"


def test_a_share_of_stage_1_is_mixed_in_and_marked(tmp_path, model_folder, scripted):
    scripted(reasoning(1, 7), reasoning(3, 7))
    run_stage(make_recipe(tmp_path, model_folder, rows=6), resume=False)
    stage1 = tmp_path / "run" / "pairs.parquet"
    second = tmp_path / "second"
    second.mkdir()
    scripted(reasoning(1, 7, "es"), reasoning(1, 7, "en"))
    reuse = {"reuse_stage1": 0.2, "stage1": str(stage1), "builder": "hybrid"}
    run_stage(make_recipe(second, model_folder, rows=8, language="es", rewards=(MATH, LANGUAGE), **reuse), resume=False)
    pairs = read_pairs(second / "run" / "pairs.parquet", origin(model_folder))
    assert [pair["reason"] for pair in pairs if pair["reused"]] == ["longer"] * 2  # 2 of 10
    assert [pair["reason"] for pair in pairs if not pair["reused"]] == ["language"] * 8
    assert str(stage1) in manifest(second / "run")["data"]


@pytest.mark.parametrize(("num_new", "share", "expected"), [(80, 0.2, 20), (10, 0.5, 10), (0, 0.5, 0), (90, 0.5, 50)])
def test_reused_pairs_make_up_the_share_or_are_all_there_are(num_new, share, expected):
    old = [{"query": index, "reused": False} for index in range(50)]
    drawn = draw_reused(old, num_new, share, seed=1)
    assert len({row["query"] for row in drawn}) == len(drawn) == expected
    assert all(row["reused"] for row in drawn)
    assert drawn == draw_reused(old, num_new, share, seed=1)


def test_stage_1_pairs_of_another_template_are_refused_before_anything_is_sampled(tmp_path, model_folder):
    ours = origin(model_folder)
    write_pairs(tmp_path / "old.parquet", [], ours._replace(template_sha256="0" * 64))
    recipe = make_recipe(tmp_path, model_folder, reuse_stage1=0.2, stage1=str(tmp_path / "old.parquet"))
    with pytest.raises(UserError, match="another chat template"):
        run_stage(recipe, resume=False)
    assert not (tmp_path / "run").exists()


def test_thinking_may_be_left_untrained_on_both_sides(tmp_path, model_folder, scripted):
    engine = scripted(reasoning(1, 7), reasoning(3, 4), reasoning(5, 7))
    recipe = make_recipe(tmp_path, model_folder, train_thinking=False, pairs_per_query=5, min_correct_share=0.0)
    run_stage(recipe, resume=False)
    pairs = read_pairs(tmp_path / "run" / "pairs.parquet", origin(model_folder))
    assert {pair["reason"] for pair in pairs} == {"wrong"}  # after longer thinking the same answer is nothing new
    for pair in pairs:
        for side, digit in (("chosen", 7), ("rejected", 4)):
            answer = engine.tokenizer.decode(pair[f"{side}_ids"][pair[f"{side}_untrained"] :])
            assert answer == "\n\n" + DIRECT["en"].format(digit) + "[|endofturn|]"
    assert report(tmp_path / "run")["refused"] == {"same_text": 4}


def test_thinking_is_trained_by_default(tmp_path, model_folder, scripted):
    scripted(reasoning(1, 7), reasoning(5, 7))
    run_stage(make_recipe(tmp_path, model_folder), resume=False)
    pairs = read_pairs(tmp_path / "run" / "pairs.parquet", origin(model_folder))
    assert {(pair["chosen_untrained"], pair["rejected_untrained"]) for pair in pairs} == {(0, 0)}


def report(run):
    return json.loads((run / "pair_report.json").read_text())


def test_report_is_a_file_with_ten_pairs_to_read(sampled, tmp_path, capsys):
    said = report(Path(sampled.run))
    assert said.items() >= manifest(Path(sampled.run))["notes"]["pairs"].items()
    assert (said["queries"], said["pairs"], len(said["examples"])) == (4, 4, 4)
    assert said["examples"][0]["question"] == "3+4?"
    assert said["examples"][0]["chosen"].endswith("[|endofturn|]")


def test_report_is_there_when_there_is_no_pair(tmp_path, model_folder, scripted):
    scripted(reasoning(1, 3), reasoning(2, 4))
    with pytest.raises(UserError, match="no pair"):
        run_stage(make_recipe(tmp_path, model_folder), resume=False)
    assert report(tmp_path / "run")["skipped"] == {"no_correct": 4}


def test_a_model_without_a_chat_template_is_refused(tmp_path, model_folder):
    bare = tmp_path / "bare"
    shutil.copytree(model_folder, bare)
    (bare / "chat_template.jinja").unlink()
    recipe = replace(make_recipe(tmp_path, model_folder), model=ModelSection(path=str(bare)))
    with pytest.raises(UserError, match=r"has no chat template; set model\.chat_template"):
        run_stage(recipe, resume=False)


def test_hybrid_without_a_language_reward_is_refused(tmp_path, model_folder):
    with pytest.raises(UserError, match="needs a reward named 'language'"):
        run_stage(make_recipe(tmp_path, model_folder, builder="hybrid"), resume=False)


def test_a_set_of_reused_pairs_only_is_refused(tmp_path, model_folder):
    with pytest.raises(UserError, match="no room for new pairs"):
        run_stage(make_recipe(tmp_path, model_folder, reuse_stage1=1.0, stage1="x"), resume=False)
