"""`posttrain check --config-only` judges a recipe where nothing else is at hand: no data, model, GPU or network."""

import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from posttrain.check_config import check_config
from posttrain.cli import main
from posttrain.errors import UserError
from posttrain.recipe import load_recipe

PROJECT = Path(__file__).parents[1]
RECIPES = sorted(path for path in (PROJECT / "recipes").rglob("*.yaml") if path.parent.name != "accelerate")
STAGES_OF_A_MODEL = ["sft", "sft_round2", "filter", "rl", "pairs-stage1", "pref-stage1", "pairs-stage2", "pref-stage2"]


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and no way out of this process."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a recipe was to be checked without a network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)


def plan(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = capsys.readouterr().out.rpartition("\n\n")[2].splitlines()
    return {line[:12].strip(): line[13:] for line in lines}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(PROJECT / "recipes").as_posix())
def test_every_recipe_passes_where_nothing_is_at_hand(path: Path, tmp_path: Path) -> None:
    check_config(load_recipe(path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", ["qwen3-0.6b", "exaone-4.0-1.2b", "exaone-4.0-32b"])
def test_model_has_every_stage_and_says_that_none_was_run(model: str) -> None:
    folder = PROJECT / "recipes" / model
    assert {path.stem for path in folder.glob("*.yaml")} == {*STAGES_OF_A_MODEL, "eval", "report"}
    for path in folder.glob("*.yaml"):
        header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert any("not run here: planned" in line for line in header), path
        assert any("Time: " in line for line in header), path


def test_smollm2_has_every_stage_and_says_what_each_took() -> None:
    folder = PROJECT / "recipes" / "smollm2-135m"
    assert {path.stem for path in folder.glob("*.yaml")} == {*STAGES_OF_A_MODEL, "eval", "profile", "report"}
    assert all("Time: about " in text or "Time: a few " in text for text in map(Path.read_text, folder.glob("*.yaml")))


@pytest.mark.parametrize("model", ["smollm2-135m", "qwen3-0.6b", "exaone-4.0-1.2b", "exaone-4.0-32b"])
def test_stage_begins_with_what_an_earlier_one_writes(model: str) -> None:
    recipes = {stage: load_recipe(PROJECT / "recipes" / model / f"{stage}.yaml") for stage in STAGES_OF_A_MODEL}
    written = set()
    for recipe in recipes.values():
        section: Any = getattr(recipe, "model")  # noqa: B009  # of a union whose other members have none
        if recipe is not recipes["sft"]:
            assert section.path.removesuffix("/model") in written
        written.add(recipe.run)
    for number in (1, 2):
        pref: Any = recipes[f"pref-stage{number}"]
        assert pref.pairs == [f"{recipes[f'pairs-stage{number}'].run}/pairs.parquet"]


def test_plan_says_what_follows_from_the_recipe_and_what_was_not_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    check_config(load_recipe(PROJECT / "recipes" / "qwen3-0.6b" / "sft.yaml"))
    assert plan(capsys) == {
        "data": "15 source(s), 14 of them data sets of the hub at a pinned commit",
        "mixer": "data_mixers.by_tokens:ByTokens",
        "step": "8 packs, 262,144 tokens at most, times the number of processes; 2,000 steps",
        "not checked": "data, tokenizer, chat template, model",
    }
    check_config(load_recipe(PROJECT / "recipes" / "exaone-4.0-32b" / "rl.yaml"))
    said = plan(capsys)
    assert said["batch"] == "4 groups of 8, 32 responses, times the number of processes"
    assert said["prompts"] == "at most 4,096 tokens beside a response of 16,384"
    assert said["not checked"] == "data, gold answers, tokenizer, chat template, model, engine"


@pytest.mark.parametrize(
    ("recipe", "override", "problem"),
    [
        ("qwen3-0.6b/sft", "trainer.learning_rat=1", "trainer: unknown key 'learning_rat'"),
        ("qwen3-0.6b/sft", "trainer.max_length=5", "trainer.max_length: got 5, but the stage sets this itself"),
        ("qwen3-0.6b/sft", "lora={rr: 8}", "lora: unknown key 'rr'"),
        ("qwen3-0.6b/sft", "mixer.args.on_shortage=sleep", "ByTokens got on_shortage='sleep'"),
        ("qwen3-0.6b/sft", "data.sources=[{path: hub:owner/name@main}]", "got revision 'main'"),
        ("qwen3-0.6b/rl", "trainer.all_wrong=ignore", "trainer.all_wrong: got 'ignore', need one of"),
        ("qwen3-0.6b/rl", "trainer.num_generations=7", "num_generations"),
        (
            "qwen3-0.6b/rl",
            "trainer.vllm_max_model_length=8192",
            "trainer.max_completion_length: got 8,192, which leaves",
        ),
        ("qwen3-0.6b/rl", "rewards=[{use: rewards.code_tests:CodeTests, args: {cpus: 1}}]", "rewards.0.args"),
        ("qwen3-0.6b/filter", "rewards=[{use: rewards.maths:nothing}]", "there is no module 'rewards.maths'"),
        ("qwen3-0.6b/filter", "decoding.max_new_tokens=20000", "max_new_tokens: got 20,000, which leaves nothing"),
        ("qwen3-0.6b/pairs-stage2", "rewards.0.args.judge.urll=x", "rewards.0.args"),
        ("qwen3-0.6b/pref-stage1", "trainer.beta=0.2", "SimPER has no reference model"),
        ("qwen3-0.6b/eval", "benchmarks=[{use: math_501}]", "benchmarks.0.use: got 'math_501'"),
        ("qwen3-0.6b/eval", "benchmarks=[{use: math_500, args: {size: 1}}]", "benchmarks.0.args"),
        ("qwen3-0.6b/eval", "benchmarks=[{use: math_500, args: {revision: main}}]", "got revision 'main'"),
        ("qwen3-0.6b/eval", "benchmarks=[{use: instructions, args: {path: hub:a/b}}]", "got no revision in 'hub:a/b'"),
        ("demo/eval", "engine.tensor_parallel=2", "engine.tensor_parallel: got 2, which engine.name: vllm alone can"),
    ],
)
def test_setting_that_the_stage_would_refuse_is_refused(recipe: str, override: str, problem: str) -> None:
    with pytest.raises(UserError) as error:
        check_config(load_recipe(PROJECT / "recipes" / f"{recipe}.yaml", [override]))
    assert problem in str(error.value)


def test_command_line_takes_it_and_refuses_rows_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(PROJECT / "recipes" / "qwen3-0.6b" / "pref-stage1.yaml")
    assert main(["check", path, "--config-only", "trainer.max_steps=3"]) == 0
    assert plan(capsys)["step"] == "32 pairs, times the number of processes; 3 steps"
    assert main(["check", path, "--config-only", "--show", "1"]) == 2
    assert "--config-only and --show" in capsys.readouterr().err
