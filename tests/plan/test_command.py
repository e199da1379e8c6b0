"""`posttrain plan` on every shipped recipe, where there is no data, no model, no GPU and no network."""

import json
import re
import shlex
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from posttrain.cli import main
from posttrain.errors import UserError
from posttrain.models.memory import Training
from posttrain.plan.command import make_plans
from posttrain.plan.options import Options
from posttrain.recipe import load_recipe

PROJECT = Path(__file__).parents[2]
RECIPES = sorted(path for path in (PROJECT / "recipes").rglob("*.yaml") if path.parent.name != "accelerate")
PLANNED = [path for path in RECIPES if load_recipe(path).stage not in ("model", "report")]
HEADER = re.compile(
    r"^# (Memory: (?P<gb>[\d.]+) GB( a GPU)?(, (?P<sampling>[\d.]+) while it samples)?\. )?Time: (?P<time>[\d.]+ \w+)"
    r"[.,] .*posttrain plan RECIPE(?P<words>.*)$",
    re.MULTILINE,
)


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and no way out of this process."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a recipe was to be planned without a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def name(path: Path) -> str:
    return path.relative_to(PROJECT / "recipes").as_posix()


@pytest.mark.parametrize("path", PLANNED, ids=name)
def test_every_recipe_has_a_plan_that_is_100_columns_wide(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= max(100, len(str(path)) + 12)
    words = {line[:12].strip() for line in lines}
    assert {"recipe", "model", "stage", "in all", "cost", "bottleneck", "fits", "assumed"} <= words
    assert {"weights", "optimizer", "activations"} <= words or {"engine", "KV cache"} <= words


@pytest.mark.parametrize("path", [path for path in PLANNED if HEADER.search(path.read_text())], ids=name)
def test_header_of_a_recipe_is_what_the_plan_says(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for said in HEADER.finditer(path.read_text()):
        assert main(["plan", str(path), *shlex.split(said["words"])]) == 0
        page = capsys.readouterr().out
        [total] = re.findall(r"^in all .*?([\d.]+ \w+);|^all +([\d.]+ \w+)$", page, re.MULTILINE)[:1]
        assert said["time"] in total or f"= {said['time']}; " in page
        [memory] = re.findall(r"^all +([\d.]+) of [\d.]+(?: +([\d.]+) of)?", page, re.MULTILINE)
        if said["gb"]:
            assert memory[0] == said["gb"]
        if said["sampling"]:
            assert memory[1] == said["sampling"]


def test_every_header_of_a_model_that_was_not_trained_here_is_held_to_the_plan() -> None:
    held = {name(path) for path in PLANNED if HEADER.search(path.read_text())}
    models = ("qwen3-0.6b", "exaone-4.0-1.2b", "exaone-4.0-32b")
    assert held == {name(path) for path in PLANNED if path.parent.name in models}


@pytest.mark.parametrize("stage", ["report", "model"])
def test_stage_that_takes_next_to_nothing_has_no_plan(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(path for path in RECIPES if load_recipe(path).stage == stage)
    assert main(["plan", str(path)]) == 2
    assert f"is for stage {stage}" in capsys.readouterr().err


def plans(recipe: str, *overrides: str, **options: Any) -> Any:
    path = PROJECT / "recipes" / f"{recipe}.yaml"
    found, _, _ = make_plans(load_recipe(path, overrides), path, Options(**options))
    return found[0] if len(found) == 1 else found


def test_plan_reads_how_the_recipe_trains() -> None:
    update = plans("exaone-4.0-32b/rl", devices=24, rollout_devices=8).work.update
    assert update.training == Training(
        number=2,
        gradient_checkpointing=True,
        attention="flash_attention_2",
        accumulation=32,
        sharding="zero3",
        processes=16,
        on_cpu=False,
        reference=True,
    )
    assert (update.rows.tokens, update.rows.rows, update.rows.trained) == (20_480, 1, 16_384)
    assert plans("exaone-4.0-32b/rl", "trainer.beta=0").work.update.reference_passes == 0
    lora = plans("exaone-4.0-1.2b/sft", "lora={r: 8, target_modules: all-linear}").work.update.training
    assert (lora.adapters.rank, lora.sharding) == (8, "none")


@pytest.mark.parametrize(
    ("overrides", "steps", "updates"),
    [
        ((), 16, 1),
        (("trainer.num_iterations=2",), 32, 2),  # every response is trained on twice
        (("trainer.steps_per_generation=256",), 16, 2),
        (("trainer.steps_per_generation=32",), 16, 0.25),  # an update takes the responses of four samplings
    ],
)
def test_every_prompt_is_sampled_once_however_many_updates_a_sampling_serves(
    overrides: tuple[str, ...], steps: int, updates: float
) -> None:
    """1,024 prompts with 8 responses; an update takes 512 of these."""
    whole = ("trainer.max_steps=-1", "trainer.num_train_epochs=1")
    plan = plans("qwen3-0.6b/rl", *whole, *overrides, rows=1024, grading_seconds=1.0)
    sampling = plan.work.sampling
    assert (plan.work.steps, sampling.updates) == (steps, updates)
    assert steps * sampling.responses / updates == 1024 * 8
    [grading] = [phase for phase in plan.phases if phase.name == "grading"]
    assert steps * grading.seconds * sampling.graders == pytest.approx(1024 * 8)


def test_server_that_takes_all_devices_is_refused() -> None:
    with pytest.raises(UserError, match="got 8 of 8, which leaves none to train on"):
        plans("exaone-4.0-32b/rl", devices=8, rollout_devices=8)


def test_ladder_has_a_plan_for_each_rung() -> None:
    first, second = plans("context/tiny")
    assert (first.work.name, second.work.name) == ("context, 1k", "context, 4k")
    assert (first.work.steps, second.work.steps) == (3_000_000 // 4096, 6_000_000 // 4096)


def test_data_that_are_here_are_counted(sft_recipe_file: Path) -> None:
    [plan], found, _ = make_plans(load_recipe(sft_recipe_file, ["trainer.max_steps=-1"]), sft_recipe_file, Options())
    assert found.how.endswith("its folder")
    assert not plan.work.assumed
    [doubled], _, _ = make_plans(
        load_recipe(sft_recipe_file),
        sft_recipe_file,
        Options(tokens_per_row=2 * plan.work.update.sequences[0]),  # type: ignore[union-attr]
    )
    assert doubled.work.tokens == 2 * plan.work.tokens


def test_what_does_not_fit_says_what_to_change_and_that_does(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(PROJECT / "recipes" / "exaone-4.0-1.2b" / "sft.yaml")
    small = ["--device", "a100-40gb", "trainer.gradient_checkpointing=false"]
    assert main(["plan", path, *small, "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert not page["stages"][0]["fits"]
    [step] = page["changes"]["on these devices"]
    assert step["change"] == "trainer.gradient_checkpointing=true"
    assert main(["plan", path, *small[:2], "--json", step["change"]]) == 0
    changed = json.loads(capsys.readouterr().out)
    assert changed["stages"] == step["stages"]
    assert changed["stages"][0]["fits"]


def test_model_too_large_for_a_device_is_spread_or_given_adapters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(PROJECT / "recipes" / "exaone-4.0-32b" / "sft.yaml")]) == 0
    page = capsys.readouterr().out
    assert "no: 595.9 of 76.0 GB, training" in page
    assert "--devices 16 " in page.partition("to fit on more devices")[2]
    assert "lora='{r: 32, target_modules: all-linear}'" in page.partition("to fit with adapters")[2]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--device", "a100"], "--device: got 'a100'; need one of a100-40gb, a100-80gb, h100-80gb"),
        (["--mfu", "1.5"], "--mfu: got 1.5, need a share of at most 1"),
        (["--devices", "0"], "--devices: got 0, need a number above 0"),
        (["--model", "no/such/model"], "plan with --model NAME: tiny, "),
        (["trainer.learning_rat=1"], "unknown key 'learning_rat'"),
    ],
)
def test_mistake_is_one_line(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(PROJECT / "recipes" / "qwen3-0.6b" / "sft.yaml"), *words]) == 2
    assert problem in capsys.readouterr().err
