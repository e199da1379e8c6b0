import pytest

from posttrain.errors import UserError
from posttrain.preference.config import NOT_IN_SIMPER, SimPERConfig
from posttrain.recipe import make_config

PLACE = {"output_dir": "nowhere", "bf16": False, "use_cpu": True}


def test_responses_are_never_cut_and_no_reference_is_needed():
    config = make_config(SimPERConfig, {"learning_rate": 2e-4, "per_device_train_batch_size": 16}, "trainer", **PLACE)
    assert config.max_length is None
    assert config.precompute_ref_log_probs is True
    assert config.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("beta", 0.5),
        ("loss_type", ["ipo"]),
        ("max_length", 512),
        ("precompute_ref_log_probs", False),
        ("sync_ref_model", True),
        ("pad_to_multiple_of", 8),
    ],
)
def test_what_only_dpo_has_is_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        make_config(SimPERConfig, {key: value}, "trainer", **PLACE)


def test_every_refused_field_exists_upstream():
    assert set(NOT_IN_SIMPER) <= set(SimPERConfig.__dataclass_fields__)
