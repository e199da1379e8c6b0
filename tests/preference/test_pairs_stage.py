import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from posttrain.errors import UserError
from posttrain.grading import GradingPool
from posttrain.inference import Completion, sampling
from posttrain.models.load import load_tokenizer
from posttrain.preference.pair_files import origin_of, read_pairs, write_pairs
from posttrain.preference.pairs_stage import draw_reused, run_stage
from posttrain.recipe import Decoding, EngineSection, ModelSection, PairsRecipe, PairsSection, RewardSpec
from posttrain.recipe.schema import DataSection, Source

MATH = RewardSpec(use="rewards.math_answer:math_answer")
LANGUAGE = RewardSpec(use="rewards.language:language")
DIRECT = {
    "en": "The answer is \\boxed{{{}}}.",
    "es": "La respuesta es \\boxed{{{}}}.",
    "ko": "정답은 \\boxed{{{}}} 입니다.",
}


def reasoning(steps, digit, language="en"):
    return "4+3=7\n" * steps + "</think>\n\n" + DIRECT[language].format(digit)


class ScriptedEngine:
    """Gives the same responses to every query, in the place of a model."""

    def __init__(self, tokenizer, texts):
        self.tokenizer, self.texts, self.prompts, self.is_closed = tokenizer, texts, [], False

    def generate(self, prompts_ids, decoding, *, seed, first_index=0):
        self.prompts = [self.tokenizer.decode(ids) for ids in prompts_ids]
        ids = [self.tokenizer(text)["input_ids"] + [self.tokenizer.eos_token_id] for text in self.texts]
        return [[Completion(list(some), False) for some in ids] for _ in prompts_ids]

    def close(self):
        self.is_closed = True


@pytest.fixture
def scripted(monkeypatch, model_folder):
    """A function that lets the next stage sample the given texts, and returns the engine."""

    def install(*texts):
        engine = ScriptedEngine(load_tokenizer(ModelSection(path=str(model_folder))), texts)
        monkeypatch.setattr(sampling, "open_engine", lambda *_: engine)
        return engine

    return install


def write_rows(path, count, mode="reasoning", language="en"):
    row = {
        "messages": [{"role": "user", "content": "3+4?"}, {"role": "assistant", "content": "the gold response"}],
        "answer": "7",
        "mode": mode,
        "language": language,
    }
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(count)))
    return path


def make_recipe(tmp_path, model_folder, *, rows=4, mode="reasoning", language="en", rewards=(MATH,), **pairs):
    data = write_rows(tmp_path / "rows.jsonl", rows, mode, language)
    return PairsRecipe(
        run=str(tmp_path / "run"),
        model=ModelSection(path=str(model_folder)),
        data=DataSection(sources=[Source(path=str(data))]),
        engine=EngineSection(name="transformers"),
        decoding=Decoding(temperature=1.0, max_new_tokens=100, samples=8),
        rewards=list(rewards),
        pairs=PairsSection(**{"builder": "shortest_correct"} | pairs),
    )


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


def origin(model_folder):
    return origin_of(load_tokenizer(ModelSection(path=str(model_folder))))


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


def test_hybrid_without_a_language_reward_is_refused(tmp_path, model_folder):
    with pytest.raises(UserError, match="needs a reward named 'language'"):
        run_stage(make_recipe(tmp_path, model_folder, builder="hybrid"), resume=False)


def test_a_set_of_reused_pairs_only_is_refused(tmp_path, model_folder):
    with pytest.raises(UserError, match="no room for new pairs"):
        run_stage(make_recipe(tmp_path, model_folder, reuse_stage1=1.0, stage1="x"), resume=False)
