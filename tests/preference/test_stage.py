import json
import math
import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain.chat import origin_of
from posttrain.errors import UserError
from posttrain.inference.sample_files import write_samples
from posttrain.models.load import load_tokenizer
from posttrain.preference.pair_files import read_pairs, write_pairs
from posttrain.preference.pairs_stage import run_stage as run_pairs
from posttrain.preference.stage import run_stage
from posttrain.recipe import Decoding, EngineSection, ModelSection, PairsRecipe, PairsSection, PrefRecipe, RewardSpec
from posttrain.recipe.sections import DataSection, Source
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
            "mode": "reasoning",
            "language": ("en", "ko")[index % 2],
        }
        for index in range(10)
    ]
    origin = origin_of(load_tokenizer(ModelSection(path=str(model_folder))))
    write_pairs(tmp_path / "pairs.parquet", rows, origin)
    return tmp_path / "pairs.parquet"


@pytest.fixture
def samples_folder(tmp_path, model_folder):
    """Four responses to each of ten queries: the shorter, the better; to the last two all are equal."""
    rng = random.Random(0)
    origin = origin_of(load_tokenizer(ModelSection(path=str(model_folder))))
    samples = [
        {
            "query": query,
            "prompt_ids": [10, 20 + query],
            "token_ids": rng.choices(range(20, 250), k=length),
            "is_truncated": False,
            "mode": "reasoning",
            "language": ("en", "ko")[query % 2],
            "reward": 1 / length if query < 8 else 1.0,
            **origin._asdict(),
        }
        for query in range(10)
        for length in (2, 4, 6, 8)
    ]
    write_samples(tmp_path / "samples.parquet" / "part-00000.parquet", samples)
    return tmp_path / "samples.parquet"


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
    assert {"margin/en", "margin/ko"} <= {name for line in lines for name in line}


@pytest.mark.slow
def test_whole_groups_are_learnt_from_samples(tmp_path, model_folder, samples_folder):
    recipe = make_recipe(tmp_path / "run", model_folder, "unread", max_steps=12, learning_rate=1e-2)
    run_stage(replace(recipe, objective="group_simper", samples=[str(samples_folder)]), resume=False)
    notes = json.loads((tmp_path / "run" / "manifest.json").read_text())["notes"]
    assert notes == {"groups": 8, "responses": 32, "skipped": {"equal_rewards": 2}, "steps": 12}
    first, *_, last = metrics(tmp_path / "run")
    assert last["margin"] > first["margin"] + 0.05
    assert last["ordering_accuracy"] > first["ordering_accuracy"]
    assert (last["length/chosen"], last["length/rejected"]) == (2, 6)  # only the shortest is better than the mean


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["dpo", "simpo"])
def test_the_peers_learn_from_the_same_pairs(tmp_path, model_folder, pairs_file, objective):
    recipe = make_recipe(tmp_path / "run", model_folder, pairs_file, max_steps=12, learning_rate=1e-2)
    run_stage(replace(recipe, objective=objective), resume=False)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["notes"] == {"pairs": 10, "steps": 12}
    first, *_, last = metrics(tmp_path / "run")
    assert last["rewards/margins"] > first["rewards/margins"] + 0.1
    assert last["rewards/accuracies"] > 0.7
    if objective == "dpo":
        assert first["loss"] == pytest.approx(math.log(2))  # policy and reference are still the same
    assert (weights(tmp_path / "run" / "model") - weights(model_folder)).abs().max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"r": 2, "target_modules": "all-linear"}])
def test_a_run_resumed_within_an_epoch_ends_at_the_same_bits_as_an_uninterrupted_one(
    tmp_path, model_folder, pairs_file, monkeypatch, lora
):
    """Ten pairs are an epoch of three steps; the run is cut in the third step and goes on after the second."""
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    run_stage(make_recipe(tmp_path / "whole", model_folder, pairs_file, lora, **cut), resume=False)
    append = Run.append_metrics

    def interrupt(run, step, values):
        append(run, step, values)
        if step == 3:
            raise KeyboardInterrupt

    recipe = make_recipe(tmp_path / "cut", model_folder, pairs_file, lora, **cut)
    monkeypatch.setattr(Run, "append_metrics", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_stage(recipe, resume=False)
    monkeypatch.undo()
    run_stage(recipe, resume=True)
    assert torch.equal(weights(tmp_path / "cut" / "model"), weights(tmp_path / "whole" / "model"))
    for line, other in zip(metrics(tmp_path / "cut"), metrics(tmp_path / "whole"), strict=True):
        assert line | {"time": 0} == other | {"time": 0}


def test_pairs_with_a_side_that_is_not_trained_are_refused_with_file_and_row(tmp_path, model_folder):
    origin = origin_of(load_tokenizer(ModelSection(path=str(model_folder))))
    pair = {"query": 0, "prompt_ids": [10], "chosen_ids": [20, 21], "rejected_ids": [30], "chosen_untrained": 1}
    file = tmp_path / "pairs.parquet"
    write_pairs(file, [pair, pair | {"chosen_untrained": 2}], origin)
    with pytest.raises(UserError, match=r"pairs\.parquet:2: no token of the chosen side bears loss"):
        run_stage(make_recipe(tmp_path / "run", model_folder, file), resume=False)
    write_pairs(file, [pair], origin)
    with pytest.raises(UserError, match="objective dpo, which is TRL's, trains whole responses"):
        run_stage(replace(make_recipe(tmp_path / "run", model_folder, file), objective="dpo"), resume=False)
    assert not (tmp_path / "run").exists()


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
