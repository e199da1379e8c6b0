"""A configuration for longer sequences: what changes in it, what stays, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
from transformers import Exaone4Config, GPT2Config, LlamaConfig

from posttrain.errors import UserError
from posttrain.models.build import HybridShape, model_config
from posttrain.models.rope import extended


@pytest.fixture
def config() -> Exaone4Config:
    return model_config(replace(HybridShape(), vocab_size=100))


def extend(config: Any, **changes: Any) -> Any:
    return extended(config, **({"length": 4096, "rope_theta": None, "rope_scaling": None} | changes))


def test_only_length_and_rope_change_and_the_model_that_was_read_stays_as_it_is(config: Exaone4Config) -> None:
    before = config.to_dict()
    new = extend(config, rope_theta=1e6)
    assert config.to_dict() == before
    changed = {key for key, value in new.to_dict().items() if value != before[key]}
    assert changed == {"max_position_embeddings", "rope_parameters"}
    assert new.rope_parameters == {"rope_type": "default", "rope_theta": 1e6}
    assert new.layer_types == config.layer_types


def test_what_is_not_given_is_kept(config: Exaone4Config) -> None:
    linear = extend(config, rope_scaling={"rope_type": "linear", "factor": 2.0})
    assert linear.rope_parameters == {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    assert extend(linear, length=8192).rope_parameters == linear.rope_parameters
    assert extend(linear, rope_scaling={"rope_type": "default"}).rope_parameters["rope_type"] == "default"


def test_scaling_starts_from_the_length_that_the_model_has_unless_another_is_given(config: Exaone4Config) -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0}
    assert extend(config, rope_scaling=yarn).rope_parameters["original_max_position_embeddings"] == 1024
    given = yarn | {"original_max_position_embeddings": 512, "factor": 8.0}
    assert extend(config, rope_scaling=given).rope_parameters["original_max_position_embeddings"] == 512


def test_a_full_attention_model_is_extended_too() -> None:
    new = extend(LlamaConfig(hidden_size=64, num_attention_heads=2), rope_theta=5e5)
    assert (new.rope_parameters["rope_theta"], new.max_position_embeddings) == (5e5, 4096)


@pytest.mark.parametrize(
    ("scaling", "problem"),
    [
        ({"rope_type": "yarn"}, "which transformers refuses: .*factor"),
        ({"rope_type": "none"}, "none"),
        ({"rope_type": "linear", "factor": 0.5}, "factor"),
        ({"rope_type": "linear", "factor": 2.0, "factr": 3.0}, "factr"),
    ],
)
def test_settings_that_transformers_would_only_warn_of_are_refused(
    config: Exaone4Config, scaling: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        extend(config, rope_scaling=scaling)


def test_model_without_rope_or_with_one_for_each_kind_of_layer_is_refused(config: Exaone4Config) -> None:
    with pytest.raises(UserError, match=r"GPT2Config\) has no RoPE"):
        extend(GPT2Config())
    each = {kind: {"rope_type": "default", "rope_theta": 1e4} for kind in ("sliding_attention", "full_attention")}
    config.rope_parameters = each
    with pytest.raises(UserError, match="for each kind of layer"):
        extend(config)
