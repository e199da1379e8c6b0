"""What SimPER is compared with: TRL's own DPO and SimPO, on the same token ids."""

from typing import Any, ClassVar

from trl import DPOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.trainer import dpo_trainer

from posttrain.guards import GuardedTrainer
from posttrain.models.reference import placed_reference
from posttrain.placement import PlacedTrainer
from posttrain.preference.groups import require_trained
from posttrain.saving import WholeCheckpoints

# CPO without its likelihood term is SimPO. The values are those its paper starts from (section 4 and its repository);
# TRL's beta of 0.1 is DPO's and leaves almost no gradient on a mean log-probability. The last one TRL would set itself,
# with a warning.
SIMPO_DEFAULTS = {
    "loss_type": "simpo",
    "cpo_alpha": 0.0,
    "beta": 2.0,
    "simpo_gamma": 1.0,
    "remove_unused_columns": False,
}


class PairDPOTrainer(PlacedTrainer, GuardedTrainer, WholeCheckpoints, DPOTrainer):
    """TRL's `DPOTrainer` on pairs of token ids; nothing else is changed in what it learns.

    Overridden upstream hooks: `_prepare_dataset` (the ids are what was sampled, text is never tokenised again), those
    of `PlacedTrainer`, `GuardedTrainer` and `WholeCheckpoints`, and how the reference model is placed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with placed_reference(dpo_trainer):
            super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        require_trained(dataset, f"{dataset_name} pairs")
        return dataset


class PairSimPOTrainer(PlacedTrainer, GuardedTrainer, WholeCheckpoints, CPOTrainer):
    """TRL's `CPOTrainer` on pairs of token ids, none of which it cuts; with `SIMPO_DEFAULTS` that is SimPO.

    Overridden upstream hooks: `tokenize_row` (as above), and those of `PlacedTrainer`, `GuardedTrainer` and
    `WholeCheckpoints`.
    """

    _name = "SimPO"
    _tag_names: ClassVar = ["trl", "simpo"]

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, list[int]]:
        """The columns that upstream makes of text: both sides with the prompt, which bears no loss."""
        prompt = feature["prompt_ids"]
        columns = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for side in ("chosen", "rejected"):
            completion = feature[f"{side}_ids"]
            columns[f"{side}_input_ids"] = prompt + completion
            columns[f"{side}_attention_mask"] = [1] * (len(prompt) + len(completion))
            columns[f"{side}_labels"] = [-100] * len(prompt) + completion
        return columns
