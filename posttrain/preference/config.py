"""Settings of the preference stage: TRL's `DPOConfig` without what only DPO has."""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from trl import DPOConfig

# Fields that shape DPO's loss, its reference model or cut and pad sequences. SimPER reads none of them.
NOT_IN_SIMPER = (
    "beta",
    "loss_type",
    "loss_weights",
    "label_smoothing",
    "ld_alpha",
    "f_divergence_type",
    "f_alpha_divergence_coef",
    "discopop_tau",
    "use_weighting",
    "sync_ref_model",
    "ref_model_mixup_alpha",
    "ref_model_sync_steps",
    "precompute_ref_log_probs",
    "precompute_ref_batch_size",
    "max_length",
    "truncation_mode",
    "padding_free",
    "pad_to_multiple_of",
)


@dataclass
class SimPERConfig(DPOConfig):
    """SimPER (paper section 2.4.3): `DPOConfig` with the settings of batches and optimizer only.

    There is no reference model and no hyperparameter, and responses are never cut: a field of `DPOConfig` that would
    ask for one of these is refused. Batch sizes count pairs or groups.

    Attributes:
        precompute_ref_log_probs: always true; it is what keeps TRL from loading a reference model (see the trainer).
        max_length: always None.
    """

    precompute_ref_log_probs: bool = field(default=True)
    max_length: int | None = field(default=None)

    def __post_init__(self) -> None:
        defaults = {item.name: _default(item) for item in fields(self)}
        for name in NOT_IN_SIMPER:
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; SimPER has no reference model, no hyperparameters and no "
                    "padding, and cuts no response: leave it out"
                )
        super().__post_init__()


def _default(item: Any) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()
