"""The mathematics of the recipe as pure functions: tensors in, tensors or a `NamedTuple` out, numbers by keyword."""

from posttrain.objectives.advantages import (
    AgapoAdvantages,
    AllCorrect,
    AllWrong,
    GroupType,
    agapo_advantages,
    group_types,
    leave_one_out,
)
from posttrain.objectives.agapo import (
    AgapoLoss,
    ImportanceLevel,
    KlEstimator,
    LengthTreatment,
    agapo_loss,
    truncated_importance_weights,
)
from posttrain.objectives.kl import kl_k1, kl_k2, kl_k3, sequence_kl
from posttrain.objectives.log_probs import TokenScores, token_scores
from posttrain.objectives.simper import SimperLoss, group_weights, mean_log_prob, simper_loss

__all__ = [
    "AgapoAdvantages",
    "AgapoLoss",
    "AllCorrect",
    "AllWrong",
    "GroupType",
    "ImportanceLevel",
    "KlEstimator",
    "LengthTreatment",
    "SimperLoss",
    "TokenScores",
    "agapo_advantages",
    "agapo_loss",
    "group_types",
    "group_weights",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "leave_one_out",
    "mean_log_prob",
    "sequence_kl",
    "simper_loss",
    "token_scores",
    "truncated_importance_weights",
]
