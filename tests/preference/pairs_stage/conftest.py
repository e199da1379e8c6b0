"""The pairs stage with scripted responses in the place of a model's."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from posttrain.chat import origin_of
from posttrain.inference import Completion, sampling
from posttrain.models.load import load_tokenizer
from posttrain.preference.pairs_stage import run_stage
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
