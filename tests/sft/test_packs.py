"""Packed rows are trained and evaluated as they are unpacked, and a model that lets them see each other is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, set_seed

from posttrain.chat import MODES
from posttrain.data.encode import IGNORED, Encoded
from posttrain.data.intake import take_in
from posttrain.errors import UserError
from posttrain.models.attention import SEGMENTS
from posttrain.recipe import SFTRecipe, load_recipe
from posttrain.sft import UnifiedSFTTrainer
from posttrain.sft.collator import Collator
from posttrain.sft.groups import Groups
from posttrain.sft.samples import Samples, cut_into_samples
from posttrain.sft.stage import plan, training_arguments

DOMAINS = ("code", "math")
TOLERANCE = 1e-5  # relative; float32 sums in another order


@pytest.fixture
def recipe(sft_recipe_file: Path) -> SFTRecipe:
    loaded = load_recipe(sft_recipe_file, ["data.pack_tokens=256", "trainer.per_device_train_batch_size=1"])
    assert isinstance(loaded, SFTRecipe)
    return loaded


@pytest.fixture
def rows(recipe: SFTRecipe, tokenizer: Any) -> list[Encoded]:
    """Longer than the hybrid model's window, of both modes and two domains."""
    stream = plan(recipe, take_in(recipe.data, tokenizer)).rows
    assert min(len(row.input_ids) for row in stream) > 16
    return [row._replace(domain=DOMAINS[index % 3 == 0]) for index, row in enumerate(stream)]


@pytest.fixture
def models(model_folder: Path, tokenizer: Any) -> dict[str, Callable[..., Any]]:
    def llama(**options: Any) -> Any:
        set_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            initializer_range=0.2,
            **options,
        )
        return LlamaForCausalLM(config)

    def hybrid(**options: Any) -> Any:
        return AutoModelForCausalLM.from_pretrained(model_folder, **options)

    return {"llama": llama, "hybrid": hybrid}


def make(
    recipe: SFTRecipe, model: Any, samples: Samples, tokenizer: Any, validation: Samples | None = None, **trainer: Any
) -> Any:
    return UnifiedSFTTrainer(
        model=model,
        args=training_arguments(replace(recipe, trainer={**recipe.trainer, **trainer})),
        samples=samples,
        validation=validation,
        processing_class=tokenizer,
    )


def packed(rows: list[Encoded]) -> Samples:
    return cut_into_samples(rows, DOMAINS, 256)


def slow_sums(model: Any, rows: list[Encoded]) -> dict[str, tuple[float, int]]:
    """Loss and trained tokens by mode and by mode and domain, one row at a time, from plain logits."""
    sums: dict[str, tuple[float, int]] = {}
    for row in rows:
        with torch.no_grad():
            logps_TV = model(torch.tensor([row.input_ids])).logits[0].double().log_softmax(dim=-1)
        loss = -sum(logps_TV[at - 1, label].item() for at, label in enumerate(row.labels) if label != IGNORED)
        for name in (MODES[row.mode_id], f"{MODES[row.mode_id]}/{row.domain}"):
            before = sums.get(name, (0.0, 0))
            sums[name] = before[0] + loss, before[1] + row.trained_tokens
    return sums


# --- the batch ---


def test_pack_is_rows_one_behind_the_other_with_positions_that_start_anew() -> None:
    rows = [Encoded([5, 6, 7], [-100, 6, 7], 0, "math"), Encoded([8, 9], [8, 9], 1)]
    samples = cut_into_samples(rows, [None, "math"], 9)
    batch = Collator({"train": rows}, Groups(samples.domains), 0, is_packed=True)([samples.as_dataset("train")[0]])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9]]  # 7 does not have to say 8
    assert batch["groups"].tolist() == [[0, 0, 0, 3, 3]]
    assert "attention_mask" not in batch


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("attention", ["sdpa", "eager", SEGMENTS])
@pytest.mark.parametrize("name", ["hybrid", "llama"])
def test_pack_has_the_loss_and_the_gradient_of_its_rows(
    recipe: SFTRecipe, rows: list[Encoded], tokenizer: Any, models: Any, name: str, attention: str, is_training: bool
) -> None:
    trainer = make(recipe, models[name](attn_implementation=attention), packed(rows), tokenizer)
    model = trainer.model.train(is_training)
    outcomes = []
    for is_packed in (False, True):
        batch = replace(trainer.data_collator, is_packed=is_packed).collate(rows[:5])
        loss = trainer.compute_loss(model, batch)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        outcomes.append((loss.item(), torch.cat([gradient.flatten() for gradient in gradients])))
    (expected, direction), (loss, gradient) = outcomes
    assert loss == pytest.approx(expected, rel=TOLERANCE)
    assert (gradient - direction).norm() < TOLERANCE * direction.norm()


# --- a whole run ---


@pytest.mark.slow
def test_logged_figures_are_those_of_the_rows_in_the_packs_of_the_step(
    recipe: SFTRecipe, rows: list[Encoded], tokenizer: Any, models: Any
) -> None:
    """With a learning rate of 0 the model stays as it is, so every row's loss can be computed beside the run."""
    samples = packed(rows)
    trainer = make(recipe, models["hybrid"](), samples, tokenizer, learning_rate=0.0, logging_steps=1, max_steps=3)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(entries) == 3
    for step, entry in enumerate(entries):
        of_step = rows[samples.bounds[2 * step] : samples.bounds[2 * step + 2]]
        sums = slow_sums(models["hybrid"](), of_step)
        until_now = slow_sums(models["hybrid"](), rows[: samples.bounds[2 * step + 2]])
        total, tokens = (sum(sums[mode][index] for mode in MODES) for index in (0, 1))
        assert entry["loss"] == pytest.approx(total / tokens, rel=TOLERANCE)
        losses = {name: value for key, value in entry.items() if (name := key.removeprefix("loss/")) != key}
        assert losses == pytest.approx({name: loss / count for name, (loss, count) in sums.items()}, rel=TOLERANCE)
        counts = {name: value for key, value in entry.items() if (name := key.removeprefix("tokens/")) != key}
        del counts["ratio"]
        assert counts == {name: count for name, (_, count) in until_now.items()}


@pytest.mark.parametrize("is_packed", [True, False])
def test_evaluation_is_a_mean_over_tokens_however_rows_are_batched(
    recipe: SFTRecipe, rows: list[Encoded], tokenizer: Any, models: Any, is_packed: bool
) -> None:
    if not is_packed:
        recipe = replace(recipe, data=replace(recipe.data, pack_tokens=None))
    samples = cut_into_samples(rows, DOMAINS, recipe.data.pack_tokens)
    held_out = cut_into_samples(rows[7:18], DOMAINS, recipe.data.pack_tokens)
    size = 1 if is_packed else 4  # three batches of 4, 4 and 3 rows
    trainer = make(recipe, models["hybrid"](), samples, tokenizer, held_out, per_device_eval_batch_size=size)
    for _ in range(2):  # and the second time it counts from nothing
        figures = trainer.evaluate()
        sums = slow_sums(models["hybrid"](), rows[7:18])
        losses = {name: value for key, value in figures.items() if (name := key.removeprefix("eval_loss/")) != key}
        assert losses == pytest.approx({name: loss / count for name, (loss, count) in sums.items()}, rel=TOLERANCE)
        total, tokens = (sum(sums[mode][index] for mode in MODES) for index in (0, 1))
        assert figures["eval_loss"] == pytest.approx(total / tokens, rel=TOLERANCE)


# --- the proof ---


def leave_the_cache_on(inputs: dict[str, Any]) -> None:
    """Upstream builds no mask between rows once there is a cache."""
    inputs["use_cache"] = True


def say_that_no_token_is_padding(inputs: dict[str, Any]) -> None:
    """Nor once there is a mask."""
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])


def count_positions_through(inputs: dict[str, Any]) -> None:
    inputs["position_ids"] = torch.arange(inputs["input_ids"].shape[1])[None]


@pytest.mark.parametrize("leak", [leave_the_cache_on, say_that_no_token_is_padding, count_positions_through])
def test_model_whose_rows_see_each_other_is_refused_before_the_first_step(
    recipe: SFTRecipe, rows: list[Encoded], tokenizer: Any, models: Any, leak: Callable[[dict[str, Any]], None]
) -> None:
    trainer = make(recipe, models["hybrid"](), packed(rows), tokenizer)
    backbone = trainer.model.base_model
    original = backbone.forward

    def leaking(**inputs: Any) -> Any:
        leak(inputs)
        return original(**inputs)

    backbone.forward = leaking
    with pytest.raises(UserError, match=r"rows of a pack see each other.*moved by up to.*Exaone4Config.*'sdpa'"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_leak_in_evaluation_alone_is_found(recipe: SFTRecipe, rows: list[Encoded], tokenizer: Any, models: Any) -> None:
    trainer = make(recipe, models["llama"](), packed(rows), tokenizer)
    backbone = trainer.model.base_model
    original = backbone.forward
    backbone.forward = lambda **inputs: original(**{**inputs, "use_cache": not backbone.training})
    with pytest.raises(UserError, match="evaluation mode"):
        trainer.train()


def test_proof_leaves_the_random_numbers_of_the_run_alone(
    recipe: SFTRecipe, rows: list[Encoded], tokenizer: Any, models: Any
) -> None:
    """Dropout is on in it: both passes have to draw the same."""
    trainer = make(recipe, models["llama"](attention_dropout=0.5), packed(rows), tokenizer)
    (proof,) = (callback for callback in trainer.callback_handler.callbacks if "Isolation" in type(callback).__name__)
    state = torch.get_rng_state()
    proof.on_train_begin(trainer.args, trainer.state, trainer.control)
    assert torch.equal(torch.get_rng_state(), state)
    assert proof._largest_move(rows[0], rows[1], is_training=True) == 0
