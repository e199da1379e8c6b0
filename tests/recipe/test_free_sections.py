"""Sections that become a library's own configuration."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.recipe import (
    make_config,
)
from posttrain.recipe.config import SAID_ELSEWHERE


@dataclass
class LibraryConfig:
    output_dir: str = "out"
    learning_rate: float = 1e-3
    max_length: int | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.learning_rate > 1:
            raise ValueError("learning_rate is\ntoo large")
        if self.note == "type":
            raise TypeError("note has a wrong type")


def config_refusal(section: dict[str, Any], **fixed: Any) -> str:
    with pytest.raises(UserError) as caught:
        make_config(LibraryConfig, section, "trainer", **fixed)
    return str(caught.value)


def test_free_section_and_fixed_values_make_the_config() -> None:
    config = make_config(LibraryConfig, {"learning_rate": 1, "max_length": None}, "trainer", output_dir="runs/x")
    assert config == LibraryConfig(output_dir="runs/x", learning_rate=1, max_length=None)


def test_unknown_key_of_a_free_section_names_the_nearest_field() -> None:
    message = config_refusal({"learning_rat": 1})
    assert message.startswith("trainer: unknown key 'learning_rat', did you mean 'learning_rate'?")
    assert "LibraryConfig" in message


def test_key_the_stage_sets_names_the_recipe_key_to_use() -> None:
    assert "use the recipe's `run`" in config_refusal({"output_dir": "a"}, output_dir="b")
    assert "use the recipe's `data.max_length`" in config_refusal({"max_length": 4}, max_length=8)
    assert "trainer.note: got 'a'" in config_refusal({"note": "a"}, note="b")
    assert "leave it out, it is 'b'" in config_refusal({"note": "a"}, note="b")


@pytest.mark.parametrize("value", ["1e-6", "fast", [1e-6], {"a": 1}])
def test_text_for_a_number_in_a_free_section_is_refused(value: Any) -> None:
    assert config_refusal({"learning_rate": value}) == f"trainer.learning_rate: got {value!r}, need a number"


@pytest.mark.parametrize("key", ["per_device_train_batch_size", "gradient_accumulation_steps"])
def test_size_below_1_is_refused_where_the_library_would_take_it(key: str) -> None:
    from trl import SFTConfig

    with pytest.raises(UserError, match=rf"trainer\.{key}: got 0, need at least 1"):
        make_config(SFTConfig, {key: 0}, "trainer")


def test_refusal_of_the_config_itself_becomes_one_line_with_the_section() -> None:
    assert config_refusal({"learning_rate": 2}) == "trainer: learning_rate is too large"
    assert config_refusal({"note": "type"}) == "trainer: note has a wrong type"


@pytest.mark.slow
def test_every_key_said_elsewhere_is_a_field_of_a_trainers_config() -> None:
    from trl import DPOConfig, SFTConfig

    from posttrain.rl import AGAPOConfig

    known = {item.name for cls in (SFTConfig, AGAPOConfig, DPOConfig) for item in fields(cls)}
    assert set(SAID_ELSEWHERE) <= known


@pytest.mark.slow
def test_trl_config_takes_a_free_section_and_its_refusals_are_ours(tmp_path: Path) -> None:
    from trl import SFTConfig

    section = {"learning_rate": 1e-6, "max_steps": 3, "use_cpu": True, "report_to": []}
    config = make_config(SFTConfig, section, "trainer", output_dir=str(tmp_path), bf16=False)
    assert (config.learning_rate, config.max_steps, config.output_dir) == (1e-6, 3, str(tmp_path))
    with pytest.raises(UserError, match="did you mean 'num_train_epochs'"):
        make_config(SFTConfig, {"num_train_epoch": 1}, "trainer")
    with pytest.raises(UserError, match="trainer: linnear is not a valid SchedulerType"):
        make_config(SFTConfig, {"lr_scheduler_type": "linnear"}, "trainer", output_dir=str(tmp_path))
