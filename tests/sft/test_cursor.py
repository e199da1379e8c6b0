"""The rows of an optimizer step follow from the seed and the step alone: the step is the position in the data."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from transformers import AutoModelForCausalLM

from posttrain.data.intake import take_in
from posttrain.data.mixing import Mixed
from posttrain.recipe import SFTRecipe, load_recipe
from posttrain.sft import UnifiedSFTTrainer
from posttrain.sft.stage import plan, training_arguments, training_samples
from posttrain.training import samples_per_step

STEPS = 6  # of the recipe in `sft_recipe_file`


class Recorder(UnifiedSFTTrainer):
    """Keeps the rows that each optimizer step is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows_of: dict[int, list[list[int]]] = defaultdict(list)

    def training_step(self, model: Any, inputs: Any, *more: Any) -> Any:
        self.rows_of[self.state.global_step] += rows_in(inputs)
        return super().training_step(model, inputs, *more)


def rows_in(batch: Any) -> list[list[int]]:
    if "position_ids" in batch:
        starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
        return [row.tolist() for row in batch["input_ids"][0].tensor_split(starts[1:])]
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    return [ids[:length] for ids, length in zip(batch["input_ids"].tolist(), lengths, strict=True)]


def make(recipe: SFTRecipe, mixed: Mixed, tokenizer: Any, **trainer: Any) -> Recorder:
    return Recorder(
        model=AutoModelForCausalLM.from_pretrained(recipe.model.path),
        args=training_arguments(replace(recipe, trainer={**recipe.trainer, "save_total_limit": 9, **trainer})),
        samples=training_samples(recipe, mixed),
        processing_class=tokenizer,
    )


@pytest.fixture(params=["rows", "packs"])
def recipe(sft_recipe_file: Path, request: pytest.FixtureRequest) -> SFTRecipe:
    """The scarce mode is drawn again: the same rows stand at several places of the stream."""
    packs = ["data.pack_tokens=256", "trainer.per_device_train_batch_size=1"] if request.param == "packs" else []
    loaded = load_recipe(sft_recipe_file, ["mixer.args.on_shortage=repeat", "trainer.save_steps=1", *packs])
    assert isinstance(loaded, SFTRecipe)
    return loaded


@pytest.fixture
def expected(recipe: SFTRecipe, tokenizer: Any) -> dict[int, list[list[int]]]:
    samples = training_samples(recipe, plan(recipe, take_in(recipe.data, tokenizer)))
    bounds = samples.bounds[:: samples_per_step(training_arguments(recipe))]
    rows = [row.input_ids for row in samples.rows]
    return {step: rows[bounds[step] : bounds[step + 1]] for step in range(STEPS)}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_run_resumed_at_any_step_sees_the_rows_of_an_uninterrupted_one(
    recipe: SFTRecipe, expected: dict[int, list[list[int]]], tokenizer: Any, workers: int
) -> None:
    mixed = plan(recipe, take_in(recipe.data, tokenizer))
    whole = make(recipe, mixed, tokenizer, dataloader_num_workers=workers)
    whole.train()
    assert whole.rows_of == expected
    for step in (1, 3, 5):
        resumed = make(recipe, mixed, tokenizer, dataloader_num_workers=workers)
        resumed.train(resume_from_checkpoint=f"{resumed.args.output_dir}/checkpoint-{step}")
        assert resumed.rows_of == {later: rows for later, rows in expected.items() if later >= step}


@pytest.mark.parametrize("step", [0, 2, 5])
def test_two_processes_share_the_rows_of_a_step(
    recipe: SFTRecipe,
    expected: dict[int, list[list[int]]],
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """A batch on each of two processes is one step; a resumed process skips what its finished steps took."""
    trainer = make(recipe, plan(recipe, take_in(recipe.data, tokenizer)), tokenizer, gradient_accumulation_steps=1)
    monkeypatch.setattr(trainer.accelerator, "prepare", lambda loader: loader)
    plain = trainer.get_train_dataloader()
    seen = []
    for process in (0, 1):
        loader = prepare_data_loader(plain, num_processes=2, process_index=process, put_on_device=False)
        seen += rows_in(next(iter(skip_first_batches(loader, step))))
    assert seen == expected[step]
