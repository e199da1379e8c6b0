import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posttrain.chat import origin_of
from posttrain.errors import UserError
from posttrain.grading import Graded, GradingPool
from posttrain.inference import Completion, sampling
from posttrain.models.load import load_tokenizer
from posttrain.preference.pair_files import read_pairs, write_pairs
from posttrain.preference.pairs import Sample
from posttrain.preference.pairs_stage import build_pairs, draw_reused, run_stage
from posttrain.recipe import (
    Decoding,
    EngineSection,
    GradingSection,
    ModelSection,
    PairsRecipe,
    PairsSection,
    RewardSpec,
)
from posttrain.recipe.sections import DataSection, Source
from rewards.contract import make_attempt
from tests.rewards.judge_server import BROKEN, says, serve

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
        grading=GradingSection(workers=0),
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


# --- samples of an earlier run ---


def columns(run, *names):
    return pq.read_table(run / "samples.parquet", columns=list(names)).to_pylist()


@pytest.fixture
def sampled(tmp_path, model_folder, scripted):
    """A finished run with right, wrong and longer responses in two languages; no other may sample."""
    texts = [reasoning(1, 7), reasoning(4, 7), reasoning(2, 3), reasoning(1, 7, "es")]
    scripted(*texts)
    recipe = make_recipe(tmp_path, model_folder)
    recipe = replace(recipe, decoding=replace(recipe.decoding, samples=len(texts)))
    run_stage(recipe, resume=False)
    return recipe


@pytest.fixture
def no_engine(monkeypatch, sampled):
    monkeypatch.setattr(sampling, "open_engine", lambda *_: pytest.fail("sampled again"))
    return replace(sampled, run=f"{sampled.run}-again", samples=sampled.run)


@pytest.mark.parametrize(
    ("setting", "rejected"),
    [
        ({}, [[2], [3], [4], [5]]),
        ({"min_correct_share": 0.9}, [[4], [5]]),
        ({"min_length_ratio": 7.0}, [[3], [4], [5]]),
        ({"pairs_per_query": 2, "rejected_order": "longer_first", "rejected_draw": "longest"}, [[3, 2]]),
        ({"rejected_order": "wrong_first"}, [[4], [5]]),
        ({"rejected_order": "wrong_first", "rejected_draw": "longest"}, [[5]]),
        ({"rejected_order": "wrong_first", "refuse_longer_chosen": True}, [[5]]),
    ],
)
def test_every_setting_of_stage_1_reaches_its_builder(setting, rejected):
    """Right: 10 (the shortest), 10, 60 and 90 tokens; wrong: 5 and 12."""
    samples = [
        Sample((number,) * length, make_attempt(f"{number}", {}), Graded(float(is_right), is_right, {}))
        for number, (length, is_right) in enumerate(
            [(10, True), (10, True), (60, True), (90, True), (5, False), (12, False)]
        )
    ]
    section = PairsSection(**{"builder": "shortest_correct", "min_correct_share": 0.5} | setting)
    outcomes = [build_pairs(section, samples, f"0/{query}") for query in range(40)]
    found = {tuple(pair.rejected for pair in outcome.pairs) for outcome in outcomes}
    assert sorted(map(list, found)) == rejected


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


# --- what is trained ---


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


# --- the report ---


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


# --- a judge of preferences ---


def answers_in(prompt):
    return [re.findall(rf"<{name}>\n(.*?)\n</{name}>", prompt, re.DOTALL)[-1] for name in ("first", "second")]


def prefers(word):
    """A judge that prefers the answer with a word in it."""

    def reply(prompt):
        first, second = (word in answer for answer in answers_in(prompt))
        return says(json.dumps({"reason": word, "verdict": "first" if first > second else "second"}))

    return reply


@pytest.fixture
def judged(tmp_path, model_folder, scripted, monkeypatch):
    """A recipe of stage 2 with a judge at a URL: four responses that are right and in the question's language."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def recipe(url, **settings):
        answers = ["So it is", "Thus it is", "Please note it is", "Then it is"]
        scripted(*[f"please 4+3=7\n</think>\n\n{answer} \\boxed{{7}}." for answer in answers])
        judge = {
            "url": url,
            "model": "judge",
            "folder": str(tmp_path / "judge"),
            "max_tries": 1,
            "timeout_s": 3,
            **settings,
        }
        preference = RewardSpec(use="rewards.preference:PairwiseJudge", args={"judge": judge}, weight=0.5)
        rewards = (MATH, RewardSpec(use="rewards.language:language", weight=0.5), preference)
        return make_recipe(tmp_path, model_folder, rewards=rewards, builder="hybrid")

    return recipe


def test_the_answer_that_the_judge_prefers_is_chosen(judged, tmp_path, model_folder):
    with serve(prefers("Please")) as server:
        run_stage(judged(server.url), resume=False)
    pairs = read_pairs(tmp_path / "run" / "pairs.parquet", origin(model_folder))
    assert len(pairs) == 4
    assert all("Please note" in pair["chosen_text"] for pair in pairs)
    assert {pair["reason"] for pair in pairs} == {"preference"}
    assert len(server.requests) <= 4 * 4 * 3
    assert all("4+3" not in text and "please" not in text for text in server.prompts)  # no thinking is shown
    verdict = json.loads(columns(tmp_path / "run", "verdicts")[2]["verdicts"])["PairwiseJudge"]
    assert (verdict["score"], verdict["reason"]) == (1.0, "3 won; judge: Please")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(BROKEN, "JudgeDownError: the judge at .* status 500"), (says("Both!"), "SilentJudgeError: 6 of 6 comparisons")],
)
def test_a_judge_that_is_down_or_talks_nonsense_stops_the_run_and_resume_goes_on(
    judged, tmp_path, model_folder, reply, reason, monkeypatch
):
    stops = pytest.raises(UserError, match=rf"'PairwiseJudge' \d+ times.*{reason}.*go on with --resume")
    state = [lambda _: reply]
    with serve(lambda prompt: state[0](prompt)) as server:
        recipe = judged(server.url)
        with pytest.warns(UserWarning, match="reward 'PairwiseJudge'"), stops:
            run_stage(recipe, resume=False)
        assert manifest(tmp_path / "run")["status"] == "failed"
        assert len(columns(tmp_path / "run", "token_ids")) == 4 * 4
        monkeypatch.setattr(sampling, "open_engine", lambda *_: pytest.fail("sampled again"))
        in_31_s = time.time() + 31  # an endpoint that was down is left alone for half a minute
        monkeypatch.setattr(time, "time", lambda: in_31_s)
        state[0] = prefers("Please")
        run_stage(recipe, resume=True)
    assert len(read_pairs(tmp_path / "run" / "pairs.parquet", origin(model_folder))) == 4


# --- what is refused ---


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
