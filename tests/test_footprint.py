"""The settings that the memory estimate depends on, as a recipe and its environment give them."""

from typing import Any

import pytest
from peft import LoraConfig
from transformers import TrainingArguments

from posttrain.footprint import adapters_of, describe, describe_memory, fullest, sharding_of, size
from posttrain.models.activations import Rows
from posttrain.models.memory import Memory, Training
from posttrain.recipe import ModelSection


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        ("all-linear", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        (["q_proj", "v_proj"], {"q_proj", "v_proj"}),
        (["mlp.up_proj"], {"up_proj"}),
        (r".*\.self_attn\..*", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        (None, {"q_proj", "v_proj"}),
    ],
)
def test_adapted_projections_are_those_that_peft_adapts(targets: Any, found: set[str]) -> None:
    """PEFT's own choice for a Llama is queries and values."""
    adapters = adapters_of(LoraConfig(r=4, target_modules=targets), "llama")
    assert adapters.rank == 4
    assert adapters.targets == found


def test_sharding_is_what_accelerate_was_launched_with(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: Any = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    assert sharding_of(arguments) == "none"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert sharding_of(arguments) == "none"  # FSDP does not exist on a CPU
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    assert sharding_of(arguments) == "zero3"


def test_frozen_copy_is_a_part_of_its_own_and_unknown_models_are_said_to_be(model_folder: Any, tmp_path: Any) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    section = ModelSection(path=str(model_folder))
    assert "reference" in describe_memory(section, Rows(64, trained=64), arguments, None, reference=1)
    assert "reference" not in describe_memory(section, Rows(64, trained=64), arguments, None)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    said = describe_memory(ModelSection(path=str(tmp_path)), Rows(64), arguments, None)
    assert said.startswith("not estimated: the formulas do not know a gpt2 model")


def test_parts_are_told_from_the_largest_on() -> None:
    memory = Memory("head, forward", {"weights": 4_000_000, "head": 0, "activations": 1_500_000_000}, on_host=2 * 10**9)
    assert describe(memory, Training(sharding="zero2", processes=4)) == (
        "about 1.50 GB at the peak (activations 1.50 GB, weights 4.0 MB); on the host 2.00 GB; "
        "at head, forward, zero2 over 4 processes"
    )
    assert size(99_000_000) == "99.0 MB"


def test_fullest_sample_is_the_one_with_the_most_tokens() -> None:
    assert fullest([5, 5, 30, 9, 9, 9], [0, 2, 3, 6]) == (2, 3)
    assert fullest([5, 5, 20, 9, 9, 9], [0, 2, 3, 6]) == (3, 6)
