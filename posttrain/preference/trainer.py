"""`SimPERTrainer`: TRL's DPO trainer with the SimPER loss, without a reference model and without padding."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from trl import DPOTrainer
from trl.trainer import dpo_trainer

from posttrain.guards import GuardedTrainer
from posttrain.models.head import TokenScorer
from posttrain.models.packed import pack_responses, shares_prompts
from posttrain.models.patching import replaced
from posttrain.objectives import mean_log_prob, simper_loss
from posttrain.placement import PlacedTrainer
from posttrain.preference.config import SimPERConfig
from posttrain.preference.groups import LABELS, SIDES, Group, make_group, require_trained, split_by_tokens
from posttrain.preference.metrics import LabelledMeans, group_figures
from posttrain.saving import WholeCheckpoints


class SimPERTrainer(PlacedTrainer, GuardedTrainer, WholeCheckpoints, DPOTrainer):
    """Raises p(chosen) and lowers p(rejected), p = exp(mean token log-probability) (paper section 2.4.3).

    Takes what `DPOTrainer` takes, with a loaded model, a `SimPERConfig` and a dataset of token ids: pairs as TRL's own
    preparation makes them (`prompt_ids`, `chosen_ids`, `rejected_ids`), or groups (`prompt_ids`, `completions`,
    `weights`); with `mode` and `language` or without; pairs also with `chosen_untrained` and `rejected_untrained`, how
    many tokens of a side, from the first on, bear no loss.

    The loss of an optimizer step is the mean over its pairs or groups, however they are cut: those of this process are
    taken together and dealt out anew, so that micro-batches hold like numbers of tokens.

    Logs `prob/chosen`, `prob/rejected`, `margin` (their difference), `ordering_accuracy` (share of pairs with a margin
    above 0), `length/chosen` and `length/rejected` (completion tokens), means over the pairs of all processes since the
    last log; and as `margin/reasoning` or `margin/ko` some of them for each mode and language, where there are several.

    No reference model exists at any time. TRL would load one in `__init__` unless its log-probabilities are computed
    beforehand (`precompute_ref_log_probs`, which the config fixes), and under FSDP even then: meanwhile its loader
    gives none. `_precompute_ref_logps`, the hook that would use it, gives the dataset back as it is, and the loss never
    asks. What remains is one hash of the weights at the start.

    Overridden upstream hooks: `_prepare_dataset` (the ids are what was sampled, text is never tokenised again),
    `_set_signature_columns_if_needed` (to keep our columns), `_precompute_ref_logps` (nothing to compute),
    `get_batch_samples` (the micro-batches), `compute_loss` (the objective), `log` (our means), and those of
    `PlacedTrainer`, `GuardedTrainer` and `WholeCheckpoints`.
    """

    _name = "SimPER"
    _tag_names: ClassVar = ["trl", "simper"]
    _paper: ClassVar = {
        "title": "SimPER: A Minimalist Approach to Preference Alignment without Hyperparameters",
        "id": "2502.00883",
    }
    loss_is_scaled_for_ga = True  # the loss of a micro-batch is its share of the step's mean
    args: SimPERConfig
    _signature_columns: list[str]

    def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(model, str):
            raise TypeError(f"model is the name {model!r}; need a loaded model, as from posttrain.models.load_model")
        with replaced(dpo_trainer, "create_model_from_path", lambda *_, **__: None):
            super().__init__(model, *args, data_collator=_collate, **kwargs)
        self.precompute_ref_logps = False  # `evaluate` on another dataset would insist on reference log-probabilities
        unwrapped = self.accelerator.unwrap_model(self.model)
        self._share_prompt = shares_prompts(unwrapped)
        self._scorer = TokenScorer(unwrapped)
        self._means = {"train": LabelledMeans(self._labels()), "eval": LabelledMeans(self._labels())}

    def _labels(self) -> list[str]:
        """The modes and the languages in the data, as far as there are several."""
        columns = [name for name in LABELS if name in self.train_dataset.column_names]
        found = [sorted(value for value in self.train_dataset.unique(name) if value is not None) for name in columns]
        return [value for values in found if len(values) > 1 for value in values]

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        """Check the rows; they already are token ids.

        Raises:
            UserError: one has no prompt, or a response without a trained token.
        """
        require_trained(dataset, f"{dataset_name} data")
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        pairs = [f"{side}_{what}" for side in SIDES for what in ("ids", "untrained")]
        self._signature_columns = ["prompt_ids", *pairs, "completions", "weights", *LABELS]

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        return dataset

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[list[Group]], Any]:
        """The micro-batches of an optimizer step, as many as upstream makes, and the step's number of groups.

        That number is per process: every process has as many groups as the others, and gradients are averaged.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        groups = [group for batch in batches for group in batch]
        lengths = [group.branches.num_tokens(share_prompt=self._share_prompt) for group in groups]
        parts = split_by_tokens(lengths, len(batches))
        return [[groups[index] for index in part] for part in parts], len(groups)

    def compute_loss(
        self, model: Any, inputs: list[Group], return_outputs: bool = False, num_items_in_batch: int | None = None
    ) -> Any:
        """The share of a micro-batch in the mean over `num_items_in_batch` groups; None: over its own."""
        device = self.accelerator.device
        row = pack_responses([group.branches for group in inputs], share_prompt=self._share_prompt)
        router = {"output_router_logits": True} if self.aux_loss_enabled else {}
        trained = [length for group in inputs for length in group.num_trained]
        is_trained = torch.cat(
            [torch.arange(length) >= length - bearing for length, bearing in zip(row.lengths, trained, strict=True)]
        )
        positions_N, targets_N = row.positions_N[is_trained].to(device), row.targets_N[is_trained].to(device)
        scored = self._scorer.score(model, positions_N, targets_N, **row.packed.model_inputs(device), **router)

        logps_RT = _stacked(scored.logps_N.float(), trained)
        mask_RT = _stacked(torch.ones(len(positions_N), dtype=torch.bool, device=device), trained)
        sizes = [len(group.weights) for group in inputs]
        mean_logp_NG = _stacked(mean_log_prob(logps_RT, mask_RT), sizes)
        weights_NG = _stacked(torch.tensor([w for group in inputs for w in group.weights], device=device), sizes)
        lengths_NG = _stacked(torch.tensor(row.lengths, device=device), sizes)
        result = simper_loss(mean_logp_NG, weights_NG, is_response_NG=lengths_NG > 0)

        figures = group_figures(result.probs_NG, weights_NG, lengths_NG)
        self._means[self._mode].add(figures, [group.labels for group in inputs])
        loss = result.loss_N.sum()
        if self.aux_loss_enabled:  # a mixture of experts: keep its router balanced, as TRL does
            loss = loss + self.router_aux_loss_coef * scored.outputs.aux_loss * len(inputs)
        loss = loss / (num_items_in_batch or len(inputs))
        return (loss, scored.outputs) if return_outputs else loss

    def describe_batch(self, batch: list[Group]) -> Iterator[dict[str, Any]]:
        """Prompts with their responses, and the weights."""
        decode = self.processing_class.decode
        for group in batch:
            texts = [decode(list(ids)) for ids in group.branches.responses]
            yield {"prompt": decode(list(group.branches.prompt)), "responses": texts, "weights": list(group.weights)}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means since the last log."""
        prefix = "" if self._mode == "train" else "eval_"
        means = self._means[self._mode].pop(lambda sums: self.accelerator.reduce(sums, reduction="sum"))
        logs.update({f"{prefix}{name}": value for name, value in means.items()})
        super().log(logs, start_time)

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"


def _stacked(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Cut into rows of these sizes, which are filled up with zeros."""
    return pad_sequence(list(torch.split(values, list(sizes))), batch_first=True)


def _collate(rows: Sequence[dict[str, Any]]) -> list[Group]:
    return [make_group(row) for row in rows]
