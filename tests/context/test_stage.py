"""The ladder from recipe to models: the gate holds a stage back and lets it go, and a kill costs nothing."""

import json
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from posttrain import cli
from posttrain.context import stage as context_stage
from posttrain.context.gate import Gate
from posttrain.context.gate_log import GateLog
from posttrain.context.plan import plan_stages
from posttrain.context.short_loss import short_loss
from posttrain.context.stage import run_stage
from posttrain.context.watch import Watch
from posttrain.errors import UserError
from posttrain.models.load import load_model
from posttrain.recipe import ContextRecipe, load_recipe
from posttrain.runs import Run
from posttrain.sft import UnifiedSFTTrainer
from tests.context.same_code import in_own_process
from tests.faults.mortal import posttrain

pytestmark = pytest.mark.slow


def load(path: Path, *overrides: str) -> ContextRecipe:
    recipe = load_recipe(path, overrides)
    assert isinstance(recipe, ContextRecipe)
    return recipe


def gates(folder: Path | str) -> list[Gate]:
    return GateLog(Path(folder), is_main=False).read()


def manifest(folder: Path | str) -> dict[str, Any]:
    return json.loads((Path(folder) / "manifest.json").read_text())


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(Path(folder) / "model").state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- the gate ---


@pytest.mark.usefixtures("same_code")
def test_stage_is_held_back_while_a_cell_fails_and_left_when_all_pass(
    recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load(recipe_file)
    run_stage(recipe, resume=False)
    run = Path(recipe.run)
    said = capsys.readouterr().out
    for name, theta in (("short", 2e4), ("long", 1e5)):
        history = gates(run / name)
        assert (history[0].step, history[0].cells) == (0, ())
        assert [gate.is_passed for gate in history] == [False] * (len(history) - 1) + [True]
        assert all(cell.accuracy == 1 for cell in history[-1].cells)
        lines = [json.loads(line) for line in (run / name / "metrics.jsonl").read_text().splitlines()]
        assert lines[-1]["step"] == history[-1].step  # no step after the gate that passed
        done = manifest(run / name)
        assert (done["status"], done["notes"]["tokens"]) == ("finished", history[-1].tokens)
        config = json.loads((run / name / "model" / "config.json").read_text())
        assert config["rope_parameters"]["rope_theta"] == theta
        assert config["max_position_embeddings"] == {"short": 160, "long": 256}[name]
    held_back = gates(run / "short")[1]
    assert any(cell.accuracy < 1 for cell in held_back.cells)
    assert f"gate at step {held_back.step}, {held_back.tokens:,} tokens: 4 of 4 cells fail" in said
    assert "failing: needle of 152 at depth 0 (0 of 1)" in said
    assert manifest(run)["status"] == "finished"
    assert manifest(run / "long")["data"].keys() >= {str(run / "short" / "model")}  # where it starts from

    arguments = ["context", str(recipe_file), "--skip-finished"]
    assert cli.main(arguments) == 0
    assert "is finished: skipped" in capsys.readouterr().out


def test_limit_that_is_reached_fails_the_stage_and_names_its_cells(
    recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["stages.0.limit_tokens=3000", "stages.0.slice_tokens=2000"]
    assert cli.main(["context", str(recipe_file), *overrides]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "stage short failed: after 2," in error
    assert "(limit_tokens 3,000) 4 of 4 cells of the gate still fail: needle of 152 at depth 0 (0 of 1); " in error
    run = Path(load(recipe_file).run)
    assert f"the model of that moment is in {run / 'short' / 'model'}" in error
    assert weights(run / "short")
    assert manifest(run)["status"] == manifest(run / "short")["status"] == "failed"
    assert not (run / "long").exists()


def test_window_may_be_longer_than_a_stage(recipe_file: Path, model_folder: Path, tmp_path: Path) -> None:
    """As in a ladder that begins at the window's own length; nothing slides yet, so there is nothing to prove."""
    wide = Path(shutil.copytree(model_folder, tmp_path / "wide"))
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps(config | {"sliding_window": 160}))
    recipe = load(
        recipe_file, f"model.path={wide}", "stages.0.limit_tokens=1100", "stages.0.slice_tokens=1000", "validation=null"
    )
    with pytest.raises(UserError, match="cells of the gate still fail"):
        run_stage(recipe, resume=False)


@pytest.mark.usefixtures("same_code")
def test_short_loss_that_rises_too_far_fails_the_stage_with_the_figures(recipe_file: Path) -> None:
    recipe = load(recipe_file, "max_short_regression=0.001", "trainer.learning_rate=0.3", "trainer.warmup_steps=0")
    with pytest.raises(UserError, match=r"stage short failed: the loss on short rows rose by [\d.]+%, from ") as caught:
        run_stage(recipe, resume=False)
    history = gates(Path(recipe.run) / "short")
    assert len(history) == 2  # it is not trained on
    assert f"from {history[1].short_loss_before:.4f} to {history[1].short_loss:.4f} nats per token" in str(caught.value)
    assert not history[1].is_passed
    assert "max_short_regression is 0.1%" in str(caught.value)


def test_short_loss_is_that_of_the_model_as_it_was_given(recipe_file: Path, tokenizer: Any) -> None:
    """A stage's RoPE alone may cost something, which is part of what growing the context costs."""
    recipe = load(recipe_file, "stages.0.limit_tokens=1100", "stages.0.slice_tokens=1000", "stages.0.rope_theta=50")
    with pytest.raises(UserError, match="cells of the gate still fail"):
        run_stage(recipe, resume=False)
    start = gates(Path(recipe.run) / "short")[0]
    (rows, given) = context_stage.short_rows(recipe, tokenizer), load_model(recipe.model, tokenizer)
    assert start.short_loss_before == pytest.approx(short_loss(given, rows), rel=1e-6)
    with_rope = load_model(recipe.model, tokenizer, plan_stages(recipe, tokenizer)[0].config)
    assert start.short_loss == pytest.approx(short_loss(with_rope, rows), rel=1e-6)
    assert start.short_loss != start.short_loss_before


def test_short_loss_is_the_mean_over_trained_tokens(model_folder: Path, recipe_file: Path, tokenizer: Any) -> None:
    recipe = load(recipe_file)
    rows, model = context_stage.short_rows(recipe, tokenizer)[:3], load_model(recipe.model, tokenizer).eval()
    losses, tokens = 0.0, 0
    for row in rows:
        labels = torch.tensor([row.labels])
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([row.input_ids]), labels=labels).loss.item()
        losses, tokens = losses + mean * row.trained_tokens, tokens + row.trained_tokens
    assert short_loss(model, rows) == pytest.approx(losses / tokens, rel=1e-5)


@pytest.mark.parametrize("memory", [{}, {"gradient_checkpointing": True}])
def test_gate_leaves_random_numbers_weights_and_the_mode_as_they_are(
    recipe_file: Path, tokenizer: Any, memory: dict[str, Any]
) -> None:
    """Asked after every step, the run ends with the weights of one that is asked at its end."""
    ends = []
    for name, slice_tokens in (("often", 1), ("once", 2000)):
        settings = "".join(f", {key}: {value}" for key, value in memory.items())
        recipe = load(
            recipe_file,
            f"run={recipe_file.parent / name}",
            "stages.0.limit_tokens=2000",
            f"stages.0.slice_tokens={slice_tokens}",
            f"stages.0.trainer={{weight_decay: 0.1{settings}}}",
        )
        with pytest.raises(UserError, match="cells of the gate still fail"):
            run_stage(recipe, resume=False)
        ends.append(Path(recipe.run) / "short")
    assert len(gates(ends[0])) > len(gates(ends[1])) == 2
    assert gates(ends[0])[-1] == gates(ends[1])[-1]
    assert same(weights(ends[0]), weights(ends[1]))


def test_gate_draws_no_random_number_and_puts_the_model_back_into_training(recipe_file: Path, tokenizer: Any) -> None:
    recipe = load(recipe_file)
    plan = plan_stages(recipe, tokenizer)[0]
    rows = context_stage.short_rows(recipe, tokenizer)
    with Run.start(plan.recipe.run, "context", "{}", 0, [], None, resume=False) as run:
        trainer = UnifiedSFTTrainer(
            model=load_model(recipe.model, tokenizer, plan.config),
            args=plan.arguments,
            samples=plan.samples,
            processing_class=tokenizer,
        )
        watch = Watch(trainer, plan, tokenizer, rows, 1.0, run)
        trainer.model.train()
        before = torch.get_rng_state()
        watch.on_step_end(None, trainer.state, trainer.control)
        assert watch.last is None  # step 0 ends no slice
        trainer.state.global_step = plan.gate_steps[0]
        watch.on_step_end(None, trainer.state, trainer.control)
    assert watch.last is not None
    assert len(watch.last.cells) == 4
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in trainer.model.modules())


# --- stopped and taken up again ---


@pytest.mark.fault(1, "killed in a slice, then in a gate", stage="context")
@pytest.mark.usefixtures("same_code")
def test_run_killed_in_a_slice_and_then_in_a_gate_ends_like_one_that_nobody_disturbed(
    recipe_file: Path, tmp_path: Path
) -> None:
    whole = load(recipe_file, f"run={recipe_file.parent / 'whole'}")
    run_stage(whole, resume=False)
    run, words, cache = Path(load(recipe_file).run), ("context", str(recipe_file)), tmp_path / "cache"
    history = gates(Path(whole.run) / "short")
    assert history[1].step > 6

    killed = posttrain(*words, cwd=tmp_path, before=partial(in_own_process, cache, ("step", 6)))
    assert killed.code == -signal.SIGKILL, killed.err
    assert [gate.step for gate in gates(run / "short")] == [0]

    killed = posttrain(*words, "--resume", cwd=tmp_path, before=partial(in_own_process, cache, ("gate", 2)))
    assert killed.code == -signal.SIGKILL, killed.err
    assert [gate.step for gate in gates(run / "short")] == [0, history[1].step]
    assert not (run / "short" / "model").exists()

    done = posttrain(*words, "--resume", cwd=tmp_path, before=partial(in_own_process, cache))
    assert done.code == 0, done.err
    for name in ("short", "long"):
        one, other = run / name, Path(whole.run) / name
        assert (one / "gate.jsonl").read_text() == (other / "gate.jsonl").read_text()
        assert same(weights(one), weights(other))


@pytest.mark.usefixtures("same_code")
def test_finished_stages_are_skipped_when_a_run_is_taken_up_again(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load(recipe_file)
    run_length = context_stage._run_length

    def interrupted(plan: Any, *args: Any, **more: Any) -> None:
        if plan.stage.name == "long":
            raise KeyboardInterrupt
        run_length(plan, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(context_stage, "_run_length", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_stage(recipe, resume=False)
    short = Path(recipe.run) / "short"
    written = (short / "model" / "model.safetensors").stat().st_mtime_ns
    assert manifest(recipe.run)["status"] == "interrupted"

    run_stage(recipe, resume=True)
    assert f"{short} is finished: skipped" in capsys.readouterr().out.replace("\n", "")
    assert (short / "model" / "model.safetensors").stat().st_mtime_ns == written
    assert manifest(Path(recipe.run) / "long")["status"] == "finished"
