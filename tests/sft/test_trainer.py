"""The trainer trains as TRL does, on the mixer's rows in the mixer's order, and tells the two modes apart."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import SFTTrainer

from posttrain.chat import MODES
from posttrain.data.encode import IGNORED, Encoded
from posttrain.data.intake import take_in
from posttrain.data.mixing import Mixed
from posttrain.recipe import SFTRecipe, load_recipe
from posttrain.sft import UnifiedSFTTrainer
from posttrain.sft.collator import GROUPS, Collator
from posttrain.sft.groups import Groups
from posttrain.sft.stage import plan, training_arguments, training_samples

PAD = 0
ROWS = [Encoded([5, 6, 7, 8], [-100, -100, 7, 8], mode_id=0), Encoded([9, 5], [-100, 5], mode_id=1)]
COLLATOR = Collator({"train": ROWS}, Groups([None]), PAD, is_packed=False)


@pytest.fixture
def recipe(sft_recipe_file: Path) -> SFTRecipe:
    loaded = load_recipe(sft_recipe_file, ["trainer.logging_steps=1"])
    assert isinstance(loaded, SFTRecipe)
    return loaded


@pytest.fixture
def mixed(recipe: SFTRecipe, tokenizer: Any) -> Mixed:
    return plan(recipe, take_in(recipe.data, tokenizer))


def make(cls: type[SFTTrainer], recipe: SFTRecipe, mixed: Mixed, tokenizer: Any, **trainer: Any) -> Any:
    """A trainer as the stage makes it; `trainer` changes keys of the recipe's section."""
    rows = [{"input_ids": row.input_ids, "labels": row.labels} for row in mixed.rows]
    is_ours = issubclass(cls, UnifiedSFTTrainer)
    data = {"samples": training_samples(recipe, mixed)} if is_ours else {"train_dataset": Dataset.from_list(rows)}
    return cls(
        model=AutoModelForCausalLM.from_pretrained(recipe.model.path),
        args=training_arguments(replace(recipe, trainer={**recipe.trainer, **trainer})),
        processing_class=tokenizer,
        **data,
    )


def logs(trainer: Any) -> list[dict[str, float]]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def slow_loss(model: Any, input_ids: list[int], labels: list[int]) -> float:
    """Summed negative log-probability of the labelled tokens, one row at a time, from plain logits."""
    logps_TV = model(torch.tensor([input_ids])).logits[0].double().log_softmax(dim=-1)
    return -sum(
        logps_TV[position - 1, label].item() for position, label in enumerate(labels) if position and label != IGNORED
    )


# --- the batch ---


def test_collator_pads_on_the_right_and_carries_the_modes() -> None:
    batch = COLLATOR([{"split": "train", "first": row, "end": row + 1} for row in (0, 1)])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 5, PAD, PAD]]
    assert batch["labels"].tolist() == [[-100, -100, 7, 8], [-100, 5, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch[GROUPS].tolist() == [[0] * 4, [1] * 4]


def test_rows_are_trained_in_the_mixers_order(recipe: SFTRecipe, mixed: Mixed, tokenizer: Any) -> None:
    trainer = make(UnifiedSFTTrainer, recipe, mixed, tokenizer)
    seen: list[list[int]] = []
    for batch in trainer.get_train_dataloader():
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        seen += [ids[:length] for ids, length in zip(batch["input_ids"].tolist(), lengths, strict=True)]
    assert seen == [row.input_ids for row in mixed.rows]


# --- one step ---


def test_loss_and_gradient_of_a_batch_are_trls_own(recipe: SFTRecipe, mixed: Mixed, tokenizer: Any) -> None:
    ours, theirs = (make(cls, recipe, mixed, tokenizer) for cls in (UnifiedSFTTrainer, SFTTrainer))
    batch = next(iter(ours.get_train_dataloader()))
    plain = {key: value for key, value in batch.items() if key != GROUPS}
    for num_items in (None, torch.tensor(100)):
        losses = [
            trainer.compute_loss(trainer.model.train(), dict(inputs), num_items_in_batch=num_items)
            for trainer, inputs in ((ours, batch), (theirs, plain))
        ]
        torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
        gradients = [
            torch.autograd.grad(loss, trainer.model.get_input_embeddings().weight)[0]
            for loss, trainer in zip(losses, (ours, theirs), strict=True)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


def test_loss_is_the_mean_over_the_trained_tokens_of_a_slow_reference(
    recipe: SFTRecipe, mixed: Mixed, tokenizer: Any
) -> None:
    trainer = make(UnifiedSFTTrainer, recipe, mixed, tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    rows = mixed.rows[: len(batch["input_ids"])]
    expected = sum(slow_loss(trainer.model, row.input_ids, row.labels) for row in rows)
    loss = trainer.compute_loss(trainer.model.train(), batch)
    assert loss.item() == pytest.approx(expected / sum(row.trained_tokens for row in rows), rel=1e-5)


def test_evaluation_batches_are_not_counted_as_training(recipe: SFTRecipe, mixed: Mixed, tokenizer: Any) -> None:
    trainer = make(UnifiedSFTTrainer, recipe, mixed, tokenizer)
    trainer.compute_loss(trainer.model.eval(), COLLATOR.collate(ROWS))
    assert trainer._since_log_G2.sum() == 0
    trainer.compute_loss(trainer.model.train(), COLLATOR.collate(ROWS))
    assert trainer._since_log_G2[:, 1].tolist() == [2, 1]


# --- a whole run ---


@pytest.mark.slow
def test_logged_figures_of_each_mode_are_those_of_its_rows(recipe: SFTRecipe, mixed: Mixed, tokenizer: Any) -> None:
    """With a learning rate of 0 the model stays as it is, so every row's loss can be computed beside the run."""
    trainer = make(UnifiedSFTTrainer, recipe, mixed, tokenizer, learning_rate=0.0, logging_steps=2, max_steps=5)
    model = AutoModelForCausalLM.from_pretrained(recipe.model.path)
    trainer.train()
    done = logs(trainer)
    assert [entry["step"] for entry in done] == [2, 4, 5]
    tokens, start = dict.fromkeys(MODES, 0), 0
    for entry in done:
        rows = mixed.rows[start : (start := entry["step"] * 6)]
        for index, mode in enumerate(MODES):
            of_mode = [row for row in rows if row.mode_id == index]
            trained = sum(row.trained_tokens for row in of_mode)
            tokens[mode] += trained
            loss = sum(slow_loss(model, row.input_ids, row.labels) for row in of_mode)
            assert entry[f"loss/{mode}"] == pytest.approx(loss / trained, rel=1e-5)
            assert entry[f"tokens/{mode}"] == tokens[mode]
        assert entry["tokens/ratio"] == tokens["reasoning"] / tokens["non_reasoning"]


@pytest.mark.slow
def test_whole_run_is_trls_own(recipe: SFTRecipe, mixed: Mixed, tokenizer: Any) -> None:
    """Counting and scoring trained tokens alone may change nothing; sums in another order leave a trace of 1e-7."""
    settings = {"adam_epsilon": 1e-5}  # at its usual value rounding of a gradient that is almost 0 becomes a step
    ours, theirs = (make(cls, recipe, mixed, tokenizer, **settings) for cls in (UnifiedSFTTrainer, SFTTrainer))
    for trainer in (ours, theirs):
        trainer.train()
    for entry, other in zip(logs(ours), logs(theirs), strict=True):
        for key in ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens"):
            assert entry[key] == pytest.approx(other[key], rel=1e-4), key
    for weight, other_weight in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(weight, other_weight, rtol=0, atol=1e-4)
    assert logs(ours)[-1]["loss"] < logs(ours)[0]["loss"] - 0.5  # and it learns


@pytest.mark.slow
def test_label_smoothing_still_works_and_tokens_are_counted_once(
    recipe: SFTRecipe, mixed: Mixed, tokenizer: Any
) -> None:
    trainer = make(UnifiedSFTTrainer, recipe, mixed, tokenizer, label_smoothing_factor=0.1, max_steps=1)
    trainer.train()
    (entry,) = logs(trainer)
    trained = sum(row.trained_tokens for row in mixed.rows[:6])
    assert entry["tokens/reasoning"] + entry["tokens/non_reasoning"] == trained


@pytest.mark.slow
def test_cut_into_micro_batches_changes_neither_loss_nor_figures(
    recipe: SFTRecipe, mixed: Mixed, tokenizer: Any
) -> None:
    done = []
    for rows, times in ((6, 1), (3, 2), (1, 6)):
        cut = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": times, "max_steps": 2}
        trainer = make(UnifiedSFTTrainer, recipe, mixed, tokenizer, **cut)
        trainer.train()
        done.append(logs(trainer))
    for other in done[1:]:
        for entry, reference in zip(other, done[0], strict=True):
            for key in ("loss", "grad_norm", "loss/reasoning", "loss/non_reasoning", "tokens/reasoning"):
                assert entry[key] == pytest.approx(reference[key], rel=1e-4), key


# --- tripwires: what we build on upstream is still there ---


def test_trl_still_has_the_hooks() -> None:
    parameters = list(inspect.signature(SFTTrainer.compute_loss).parameters)
    assert parameters == ["self", "model", "inputs", "return_outputs", "num_items_in_batch"]
    assert list(inspect.signature(SFTTrainer.log).parameters) == ["self", "logs", "start_time"]


def test_trl_still_scores_targets_that_are_given_to_it(recipe: SFTRecipe, mixed: Mixed, tokenizer: Any) -> None:
    """Its loss takes nothing but sums over these fields, so they may lie in another shape."""
    trainer = make(UnifiedSFTTrainer, recipe, mixed, tokenizer)
    batch = COLLATOR.collate(ROWS)
    del batch[GROUPS]
    outputs, places = trainer.score(trainer.model, **batch)
    assert places.tolist() == [2, 3, 5]
    for values in (outputs.log_probs, outputs.entropy, outputs.is_top1, outputs.label_mask):
        assert values.shape == (1, 3)
    expected = [-slow_loss(trainer.model, row.input_ids, row.labels) for row in ROWS]
    assert [outputs.log_probs[0, :2].sum().item(), outputs.log_probs[0, 2].item()] == pytest.approx(expected, rel=1e-4)
