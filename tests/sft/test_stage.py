"""The stage from recipe to model folder: what it writes, what it refuses, and that a kill costs nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from posttrain.chat import read_template, template_sha256
from posttrain.check import check_recipe
from posttrain.data.intake import take_in
from posttrain.errors import UserError
from posttrain.recipe import SFTRecipe, load_recipe
from posttrain.sft import UnifiedSFTTrainer, stage
from posttrain.sft.stage import describe, plan, run_stage, training_arguments


def load(path: Path, *overrides: str) -> SFTRecipe:
    recipe = load_recipe(path, overrides)
    assert isinstance(recipe, SFTRecipe)
    return recipe


def manifest(folder: Path | str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "manifest.json").read_text())
    return content


def metrics(folder: Path | str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    return dict(model.state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class KillAfter(TrainerCallback):
    """As ^C does, in the middle of a run."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.began_after: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began_after = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def run_and_kill(recipe: SFTRecipe, monkeypatch: pytest.MonkeyPatch, *, step: int, resume: bool = False) -> int | None:
    """Returns the step after which this attempt began."""
    killer = KillAfter(step)

    class Killed(UnifiedSFTTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_callback(killer)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "UnifiedSFTTrainer", Killed)
        with pytest.raises(KeyboardInterrupt):
            run_stage(recipe, resume=resume)
    return killer.began_after


# --- settings ---


def test_rows_are_neither_prepared_nor_shuffled_nor_cut(sft_recipe_file: Path) -> None:
    arguments = training_arguments(load(sft_recipe_file))
    assert arguments.max_length is None
    assert arguments.train_sampling_strategy == "sequential"
    assert arguments.dataset_kwargs == {"skip_prepare_dataset": True}
    assert arguments.num_train_epochs == 1  # the mixer's stream, once


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("trainer.learning_rat=1", "trainer: unknown key 'learning_rat', did you mean 'learning_rate'"),
        (
            "trainer.max_length=9",
            r"trainer\.max_length: got 9, but the stage sets this itself; use .* `data\.max_length`",
        ),
        ("trainer.packing=true", r"trainer\.packing: got True, but the stage sets this itself; .* `data\.pack_tokens`"),
        ("trainer.padding_free=true", r"trainer\.padding_free: got True, .* `data\.pack_tokens`"),
        ("trainer.seed=9", r"trainer\.seed"),
        ("lora={rank: 4}", "lora: unknown key 'rank'"),
        ("trainer.per_device_train_batch_size=90", "rows in the mix, one step takes 180"),
        ("data.max_length=9", r"rows cannot be used .*: \d+ tokens, data\.max_length is 9"),
        ("data.sources.1.path=none.jsonl", r"'none\.jsonl' does not exist"),
        ("data.sources.1.name=long", "two sources are named 'long'"),
        ("mixer.use=data_mixers.by_tokens:ByToken", "did you mean 'ByTokens'"),
        ("model.path=./none", "no model at"),
    ],
)
def test_mistake_is_refused_before_the_run_has_a_folder(sft_recipe_file: Path, override: str, problem: str) -> None:
    """A folder left behind would refuse the mended recipe."""
    recipe = load(sft_recipe_file, override)
    with pytest.raises(UserError, match=problem):
        run_stage(recipe, resume=False)
    assert not Path(recipe.run).exists()


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("trainer.learning_rat=1", "did you mean 'learning_rate'"),
        ("lora={rank: 1}", "lora: unknown key 'rank'"),
        ("mixer.use=data_mixers.by_token:ByTokens", "did you mean 'by_tokens'"),
    ],
)
def test_setting_is_refused_before_a_row_is_read(sft_recipe_file: Path, override: str, problem: str) -> None:
    """Encoding may take hours; here it would say that there is no such file."""
    recipe = load(sft_recipe_file, "data.sources.0.path=./none.jsonl", override)
    with pytest.raises(UserError, match=problem):
        check_recipe(recipe)
    with pytest.raises(UserError, match=problem):
        run_stage(recipe, resume=False)


def test_model_without_chat_template_is_refused(sft_recipe_file: Path, model_folder: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(model_folder, tmp_path / "bare"))
    (bare / "chat_template.jinja").unlink()
    recipe = load(sft_recipe_file, f"model.path={bare}")
    with pytest.raises(UserError, match="has no chat template"):
        run_stage(recipe, resume=False)
    assert not Path(recipe.run).exists()


def test_template_that_trains_something_else_is_refused_before_the_run_has_a_folder(
    sft_recipe_file: Path, tmp_path: Path
) -> None:
    """The rows have one turn each; it is in the second turn that this template goes wrong."""
    template = read_template("exaone4")
    kept = template.replace("{%- if loop.index0 > last_user.index and message", "{%- if message")
    assert kept != template
    (tmp_path / "kept.jinja").write_text(kept)
    recipe = load(sft_recipe_file, f"model.chat_template={tmp_path / 'kept.jinja'}")
    with pytest.raises(UserError, match=r"'system and two turns, ko', reasoning, turn 1 \(message 2, assistant\)"):
        run_stage(recipe, resume=False)
    assert not (tmp_path / "run").exists()


def test_mix_is_described_in_one_line(sft_recipe_file: Path, tokenizer: Any) -> None:
    recipe = load(sft_recipe_file)
    mixed = plan(recipe, take_in(recipe.data, tokenizer))
    reasoning, direct = mixed.trained_tokens.values()
    assert describe(mixed) == (
        f"  {len(mixed.rows)} rows; trained tokens: reasoning {reasoning:,}, non_reasoning {direct:,}; "
        f"ratio {reasoning / direct:.3f}"
    )


# --- a run ---


@pytest.mark.slow
def test_run_leaves_a_model_its_metrics_and_its_history(
    sft_recipe_file: Path, model_folder: Path, demo_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load(sft_recipe_file)
    run_stage(recipe, resume=False)
    folder = Path(recipe.run)

    done = manifest(folder)
    assert (done["stage"], done["status"], done["seed"]) == ("sft", "finished", 0)
    data = {str(demo_files[f"sft_{mode}"]) for mode in ("reasoning", "non_reasoning")}
    assert data <= done["data"].keys()
    assert done["template_sha256"] == template_sha256(read_template("exaone4"))
    assert done["notes"]["ratio"] == pytest.approx(1.5, abs=0.1)
    assert set(done["notes"]) == {"trained_tokens", "all_tokens", "ratio", "data", "mix"}
    mix = done["notes"]["mix"]
    assert set(mix) == {"long/reasoning", "short/non_reasoning"}
    assert mix["long/reasoning"]["asked_share"] == 0.6
    assert mix["long/reasoning"]["drawn_tokens"] == done["notes"]["trained_tokens"]["reasoning"]
    assert mix["long/reasoning"]["epochs"] == mix["long/reasoning"]["drawn_rows"] / 60
    assert not (folder / "rejected.jsonl").exists()

    lines = metrics(folder)
    assert [line["step"] for line in lines] == [2, 4, 6]
    wanted = {"loss", "grad_norm", "learning_rate", "tokens/ratio", "time"}
    wanted |= {f"{what}/{mode}" for what in ("loss", "tokens") for mode in ("reasoning", "non_reasoning")}
    assert all(wanted <= line.keys() for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]

    assert load_recipe(folder / "recipe.yaml") == recipe
    assert {path.name for path in (folder / "checkpoints").glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-6"}
    assert not same(weights(folder / "model"), weights(model_folder))
    exported = AutoTokenizer.from_pretrained(folder / "model")
    assert exported.chat_template == read_template("exaone4")
    assert {path.name for path in (folder / "model").iterdir()} == {path.name for path in model_folder.iterdir()}
    said = capsys.readouterr().out
    assert "ratio 1.5" in said
    assert "6/6" in said
    assert said.endswith(f"  wrote {folder / 'model'}\n")
    assert "{'loss'" not in said

    for resume in (False, True):
        with pytest.raises(UserError, match="is already finished"):
            run_stage(recipe, resume=resume)


@pytest.mark.slow
def test_rows_that_are_set_aside_are_listed_in_the_run_folder_and_counted(
    sft_recipe_file: Path, demo_files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(demo_files["sft_reasoning"], data / "a.jsonl")
    (data / "b.jsonl").write_text("{\n")
    recipe = load(sft_recipe_file, f"data.sources.0.path={data}", "trainer.max_steps=1")
    run_stage(recipe, resume=False)
    (line,) = (Path(recipe.run) / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["file"] == str(data / "b.jsonl")
    done = manifest(recipe.run)
    assert done["notes"]["data"]["long"]["rejected"] == {"not JSON": 1}
    assert {str(data / "a.jsonl"), str(data / "b.jsonl")} <= done["data"].keys()
    assert f"long: set aside 1 rows: not JSON 1 (first {data / 'b.jsonl'}:1)" in capsys.readouterr().out


def test_run_with_too_many_unusable_rows_does_not_start(
    sft_recipe_file: Path, demo_files: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(demo_files["sft_reasoning"].read_text() + "{\n{\n")
    recipe = load(sft_recipe_file, f"data.sources.0.path={path}")
    with pytest.raises(UserError, match=r"2 of 152 rows cannot be used .*not JSON 2 \(first .*rows\.jsonl:61: "):
        run_stage(recipe, resume=False)
    assert not Path(recipe.run).exists()


@pytest.mark.slow
def test_same_seed_trains_the_same_model_and_another_seed_another_order(sft_recipe_file: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_stage(load(sft_recipe_file, f"run={tmp_path / name}", f"seed={seed}", "trainer.max_steps=2"), resume=False)
    assert same(weights(tmp_path / "a" / "model"), weights(tmp_path / "b" / "model"))
    assert not same(weights(tmp_path / "a" / "model"), weights(tmp_path / "c" / "model"))


@pytest.mark.slow
def test_recipe_without_steps_trains_the_mix_once(sft_recipe_file: Path, tokenizer: Any) -> None:
    recipe = load(sft_recipe_file, "trainer.max_steps=-1", "trainer.per_device_train_batch_size=10")
    mixed = plan(recipe, take_in(recipe.data, tokenizer))
    run_stage(recipe, resume=False)
    last = metrics(recipe.run)[-1]
    assert last["step"] == -(-len(mixed.rows) // 20)
    for mode, tokens in mixed.trained_tokens.items():
        assert last[f"tokens/{mode}"] == tokens
    assert last["tokens/ratio"] == pytest.approx(mixed.ratio)


@pytest.mark.slow
def test_recipes_template_goes_into_the_exported_model(sft_recipe_file: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text(read_template("exaone4") + "{#- mine -#}")
    recipe = load(sft_recipe_file, f"model.chat_template={own}", "trainer.max_steps=1")
    run_stage(recipe, resume=False)
    exported = AutoTokenizer.from_pretrained(Path(recipe.run) / "model")
    assert exported.chat_template == own.read_text()
    assert manifest(recipe.run)["template_sha256"] == template_sha256(own.read_text())


@pytest.mark.slow
def test_half_precision_trains_and_is_exported_as_such(sft_recipe_file: Path) -> None:
    recipe = load(sft_recipe_file, "model.dtype=bfloat16", "trainer.max_steps=1")
    run_stage(recipe, resume=False)
    config = json.loads((Path(recipe.run) / "model" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"


# --- packs and validation ---

PACKS = ("data.pack_tokens=256", "trainer.per_device_train_batch_size=1")


def test_row_that_fits_into_no_pack_is_refused_before_the_run_has_a_folder(sft_recipe_file: Path) -> None:
    recipe = load(sft_recipe_file, "data.pack_tokens=60", "trainer.per_device_train_batch_size=1")
    with pytest.raises(UserError, match=r"rows are longer than a pack may be.*data\.pack_tokens is 60"):
        run_stage(recipe, resume=False)
    assert not Path(recipe.run).exists()


def test_with_packs_a_batch_is_one_pack_unless_it_is_said(sft_recipe_file: Path) -> None:
    text = sft_recipe_file.read_text().replace("  per_device_train_batch_size: 3\n", "")
    sft_recipe_file.write_text(text)
    arguments = training_arguments(load(sft_recipe_file, "data.pack_tokens=256"))
    assert (arguments.per_device_train_batch_size, arguments.per_device_eval_batch_size) == (1, 1)
    assert training_arguments(load(sft_recipe_file)).per_device_train_batch_size == 8  # upstream's


def test_problem_with_validation_rows_is_told_as_such(sft_recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{")
    recipe = load(sft_recipe_file, f"validation={{sources: [{{path: {tmp_path / 'rows.jsonl'}}}]}}")
    with pytest.raises(UserError, match=r"validation: 1 of 1 rows cannot be used"):
        run_stage(recipe, resume=False)


@pytest.mark.slow
@pytest.mark.parametrize("packs", [(), PACKS])
def test_validation_rows_are_evaluated_as_asked_and_at_the_end_and_never_trained(
    sft_recipe_file: Path, demo_files: dict[str, Path], packs: tuple[str, ...]
) -> None:
    validation = f"validation={{sources: [{{name: held_out, path: {demo_files['sft_round2']}}}]}}"
    recipe = load(sft_recipe_file, *packs, validation, "trainer.eval_strategy=steps", "trainer.eval_steps=4")
    run_stage(recipe, resume=False)
    evaluations = [line for line in metrics(recipe.run) if "eval_loss" in line]
    assert [line["step"] for line in evaluations] == [4, 6]
    domains = ("long_chains", "short_chains")
    wanted = {"eval_loss/reasoning", *(f"eval_loss/reasoning/{domain}" for domain in domains)}
    assert all(wanted <= line.keys() for line in evaluations)
    assert evaluations[1]["eval_loss"] < evaluations[0]["eval_loss"]
    done = manifest(recipe.run)
    assert str(demo_files["sft_round2"]) in done["data"]
    assert set(done["notes"]["validation"]) == {"held_out"}
    assert set(done["notes"]["data"]) == {"long", "short"}

    alone = load(sft_recipe_file, *packs, f"run={recipe.run}-alone")
    run_stage(alone, resume=False)
    assert same(weights(Path(recipe.run) / "model"), weights(Path(alone.run) / "model"))


@pytest.mark.slow
def test_run_of_packs_that_is_killed_and_resumed_ends_with_the_same_weights_and_figures(
    sft_recipe_file: Path, demo_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of several domains, read by a worker process."""
    path = demo_files["sft_round2"]
    overrides = (*PACKS, f"data.sources.0.path={path}", "trainer.logging_steps=3", "trainer.dataloader_num_workers=1")
    whole = load(sft_recipe_file, *overrides, f"run={tmp_path / 'whole'}")
    run_stage(whole, resume=False)
    recipe = load(sft_recipe_file, *overrides)
    run_and_kill(recipe, monkeypatch, step=3)
    assert run_and_kill(recipe, monkeypatch, step=5, resume=True) == 2
    run_stage(recipe, resume=True)
    assert same(weights(Path(recipe.run) / "model"), weights(Path(whole.run) / "model"))
    assert manifest(recipe.run)["notes"]["packs"] > 12
    for line, expected in zip(metrics(recipe.run), metrics(whole.run), strict=True):
        assert line.keys() == expected.keys()
        assert "tokens/reasoning/long_chains" in line
        for key in line.keys() - {"time", "num_tokens"}:
            assert line[key] == expected[key], key


# --- killed and taken up again ---


@pytest.fixture
def uninterrupted(sft_recipe_file: Path, tmp_path: Path) -> SFTRecipe:
    """A run that logs less often than it saves, so that a checkpoint falls between two logs."""
    recipe = load(sft_recipe_file, f"run={tmp_path / 'whole'}", "trainer.logging_steps=3")
    run_stage(recipe, resume=False)
    return recipe


@pytest.mark.slow
def test_killed_and_resumed_run_ends_with_the_same_weights_and_figures(
    uninterrupted: SFTRecipe, sft_recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load(sft_recipe_file, "trainer.logging_steps=3")
    run_and_kill(recipe, monkeypatch, step=3)
    assert manifest(recipe.run)["status"] == "interrupted"
    with pytest.raises(UserError, match="holds a run that is interrupted; pass --resume"):
        run_stage(recipe, resume=False)
    assert run_and_kill(recipe, monkeypatch, step=5, resume=True) == 2
    run_stage(recipe, resume=True)

    assert manifest(recipe.run)["status"] == "finished"
    assert len(manifest(recipe.run)["resumed"]) == 2
    assert same(weights(Path(recipe.run) / "model"), weights(Path(uninterrupted.run) / "model"))
    resumed, whole = metrics(recipe.run), metrics(uninterrupted.run)
    assert [line["step"] for line in whole] == [2, 3, 4, 6]  # at every checkpoint too
    for line, expected in zip(resumed, whole, strict=True):
        assert line.keys() == expected.keys()
        for key in line.keys() - {"time", "num_tokens"}:  # the latter is TRL's, which counts from the resume
            assert line[key] == expected[key], key


@pytest.mark.slow
def test_run_killed_before_its_first_checkpoint_begins_again(
    sft_recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, other = load(sft_recipe_file), load(sft_recipe_file, f"run={tmp_path / 'whole'}")
    run_and_kill(recipe, monkeypatch, step=1)
    run_stage(recipe, resume=True)
    run_stage(other, resume=True)  # in an empty folder this just starts
    assert same(weights(Path(recipe.run) / "model"), weights(Path(other.run) / "model"))
    assert [line["step"] for line in metrics(recipe.run)] == [2, 4, 6]


@pytest.mark.slow
def test_run_killed_after_its_export_exports_again(uninterrupted: SFTRecipe) -> None:
    """The model is written before the run is called finished."""
    path = Path(uninterrupted.run) / "manifest.json"
    before = weights(path.parent / "model")
    path.write_text(json.dumps({**manifest(path.parent), "status": "running"}))
    run_stage(uninterrupted, resume=True)
    assert manifest(path.parent)["status"] == "finished"
    assert same(weights(path.parent / "model"), before)


@pytest.mark.slow
def test_changed_data_or_recipe_is_not_resumed(
    sft_recipe_file: Path, demo_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copy(demo_files["sft_reasoning"], tmp_path / "rows.jsonl"))
    recipe = load(sft_recipe_file, f"data.sources.0.path={data}")
    run_and_kill(recipe, monkeypatch, step=3)
    with pytest.raises(UserError, match=r"trainer\.learning_rate was 0\.01 and is now 0\.1"):
        run_stage(load(sft_recipe_file, f"data.sources.0.path={data}", "trainer.learning_rate=0.1"), resume=True)
    data.write_text(data.read_text().replace("4", "5"))
    with pytest.raises(UserError, match=r"rows\.jsonl has changed since"):
        run_stage(recipe, resume=True)


# --- LoRA ---

LORA = "lora={r: 4, lora_alpha: 8, lora_dropout: 0.0, target_modules: [q_proj, v_proj]}"


@pytest.mark.slow
def test_lora_is_merged_into_a_plain_model(sft_recipe_file: Path, model_folder: Path) -> None:
    recipe = load(sft_recipe_file, LORA)
    run_stage(recipe, resume=False)
    folder = Path(recipe.run) / "model"
    assert {path.name for path in folder.iterdir()} == {path.name for path in model_folder.iterdir()}
    base, trained = weights(model_folder), weights(folder)
    assert base.keys() == trained.keys()
    changed = {name for name in base if not torch.equal(base[name], trained[name])}
    assert changed == {name for name in base if "q_proj" in name or "v_proj" in name}
    for name in changed:
        assert torch.linalg.matrix_rank(trained[name] - base[name], rtol=1e-3) <= 4
    assert metrics(recipe.run)[-1]["loss"] < metrics(recipe.run)[0]["loss"]


@pytest.mark.slow
def test_lora_run_resumes_to_the_same_weights(
    sft_recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = load(sft_recipe_file, LORA, f"run={tmp_path / 'whole'}"), load(sft_recipe_file, LORA)
    run_stage(whole, resume=False)
    run_and_kill(killed, monkeypatch, step=3)
    run_stage(killed, resume=True)
    assert same(weights(Path(killed.run) / "model"), weights(Path(whole.run) / "model"))
