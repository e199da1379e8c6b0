import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain.errors import UserError
from posttrain.models.load import load_tokenizer
from posttrain.preference.pair_files import origin_of, read_pairs, write_pairs
from posttrain.preference.pairs_stage import run_stage as run_pairs
from posttrain.preference.stage import run_stage
from posttrain.recipe import Decoding, EngineSection, ModelSection, PairsRecipe, PairsSection, PrefRecipe, RewardSpec
from posttrain.recipe.schema import DataSection, Source
from posttrain.runs import Run

TRAINER = {
    "per_device_train_batch_size": 4,
    "max_steps": 4,
    "save_steps": 2,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "report_to": [],
}


@pytest.fixture
def pairs_file(tmp_path, model_folder):
    rng = random.Random(0)
    rows = [
        {
            "query": index,
            "prompt_ids": rng.choices(range(20, 250), k=5),
            "chosen_ids": rng.choices(range(20, 250), k=rng.randint(1, 6)),
            "rejected_ids": rng.choices(range(20, 250), k=rng.randint(4, 9)),
        }
        for index in range(10)
    ]
    origin = origin_of(load_tokenizer(ModelSection(path=str(model_folder))))
    write_pairs(tmp_path / "pairs.parquet", rows, origin)
    return tmp_path / "pairs.parquet"


def make_recipe(run, model_folder, pairs_file, lora=None, **trainer):
    model = ModelSection(path=str(model_folder))
    return PrefRecipe(run=str(run), model=model, pairs=[str(pairs_file)], trainer=TRAINER | trainer, lora=lora)


def weights(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"r": 2, "target_modules": "all-linear"}])
def test_the_stage_writes_a_plain_model_that_reloads_and_has_learnt(tmp_path, model_folder, pairs_file, lora):
    run = tmp_path / "run"
    run_stage(make_recipe(run, model_folder, pairs_file, lora, learning_rate=1e-2), resume=False)
    assert (weights(run / "model") - weights(model_folder)).abs().max() > 1e-4
    assert AutoTokenizer.from_pretrained(run / "model").chat_template
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["notes"] == {"pairs": 10, "steps": 4}
    assert list(manifest["data"]) == [pairs_file.as_posix(), model_folder.as_posix()]
    lines = metrics(run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    names = {"loss", "prob/chosen", "prob/rejected", "margin", "ordering_accuracy", "length/chosen", "length/rejected"}
    assert all(names <= line.keys() for line in lines)


@pytest.mark.slow
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, model_folder, pairs_file, monkeypatch):
    run_stage(make_recipe(tmp_path / "whole", model_folder, pairs_file), resume=False)
    append = Run.append_metrics

    def interrupt(run, step, values):
        append(run, step, values)
        if step == 3:
            raise KeyboardInterrupt

    recipe = make_recipe(tmp_path / "cut", model_folder, pairs_file)
    monkeypatch.setattr(Run, "append_metrics", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_stage(recipe, resume=False)
    monkeypatch.undo()
    run_stage(recipe, resume=True)
    assert [line["step"] for line in metrics(tmp_path / "cut")] == [1, 2, 3, 4]
    torch.testing.assert_close(weights(tmp_path / "cut" / "model"), weights(tmp_path / "whole" / "model"))


def test_pairs_of_another_tokenizer_are_refused_before_the_run_begins(tmp_path, model_folder, pairs_file):
    foreign = origin_of(load_tokenizer(ModelSection(path=str(model_folder))))._replace(vocabulary_sha256="0" * 64)
    write_pairs(pairs_file, [], foreign)
    with pytest.raises(UserError, match="another tokenizer"):
        run_stage(make_recipe(tmp_path / "run", model_folder, pairs_file), resume=False)
    assert not (tmp_path / "run").exists()


def test_missing_pairs_are_refused_before_the_run_begins(tmp_path, model_folder):
    with pytest.raises(UserError, match="make it with `posttrain pairs`"):
        run_stage(make_recipe(tmp_path / "run", model_folder, tmp_path / "none.parquet"), resume=False)
    assert not (tmp_path / "run").exists()


def test_settings_that_only_dpo_has_are_refused_before_the_run_begins(tmp_path, model_folder, pairs_file):
    with pytest.raises(UserError, match=r"trainer: beta is 0\.5; SimPER has no"):
        run_stage(make_recipe(tmp_path / "run", model_folder, pairs_file, beta=0.5), resume=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_from_a_model_to_pairs_to_a_better_model(tmp_path, model_folder, monkeypatch):
    """The two stages with a real engine: responses that end after an even number of tokens count as right."""
    reward = "from rewards.contract import Verdict\ndef even(attempt):\n    ok = attempt.num_tokens % 2 == 0\n"
    (tmp_path / "even_reward.py").write_text(reward + "    return Verdict(float(ok), ok)\n")
    monkeypatch.syspath_prepend(tmp_path)
    row = {"messages": [{"role": "user", "content": "Say something."}], "mode": "reasoning"}
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 6)
    recipe = PairsRecipe(
        run=str(tmp_path / "pairs"),
        model=ModelSection(path=str(model_folder)),
        data=DataSection(sources=[Source(path=str(tmp_path / "rows.jsonl"))]),
        engine=EngineSection(name="transformers"),
        decoding=Decoding(temperature=3.0, max_new_tokens=101, samples=8),
        rewards=[RewardSpec(use="even_reward:even")],
        pairs=PairsSection(builder="shortest_correct", pairs_per_query=2),
    )
    run_pairs(recipe, resume=False)
    file = tmp_path / "pairs" / "pairs.parquet"
    rows = read_pairs(file, origin_of(load_tokenizer(recipe.model)))
    assert all(len(row["chosen_ids"]) % 2 == 0 for row in rows)
    assert all(len(row["rejected_ids"]) % 2 == 1 for row in rows if row["reason"] == "wrong")
    run_stage(make_recipe(tmp_path / "pref", model_folder, file, learning_rate=1e-2, max_steps=10), resume=False)
    lines = metrics(tmp_path / "pref")
    assert lines[-1]["margin"] > lines[0]["margin"]
