"""A judge of preferences decides which answer is chosen."""

import json
import re
import time

import pytest

from posttrain.errors import UserError
from posttrain.inference import sampling
from posttrain.preference.pair_files import read_pairs
from posttrain.preference.pairs_stage import run_stage
from posttrain.recipe import (
    RewardSpec,
)
from tests.preference.pairs_stage.conftest import MATH, columns, make_recipe, manifest, origin
from tests.rewards.judge_server import BROKEN, says, serve


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
            "timeout_s": 30,
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
