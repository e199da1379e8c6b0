"""From samples to tensors: rows side by side with padding, or one behind the other without."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from posttrain.data.encode import Encoded
from posttrain.sft.groups import Groups

GROUPS = "groups"  # each token's group, in the shape of `input_ids`


@dataclass(frozen=True)
class Collator:
    """Collates what `Samples.as_dataset` gives.

    Attributes:
        rows: the stream of each split.
        groups: of all rows.
        pad_token_id: what fills a shorter row's end.
        is_packed: whether a batch is one pack; else it is rows padded on the right, with an attention mask.
    """

    rows: Mapping[str, Sequence[Encoded]]
    groups: Groups
    pad_token_id: int
    is_packed: bool

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Read the samples' rows and collate them."""
        return self.collate([row for sample in samples for row in self._rows_of(sample)])

    def collate(self, rows: Sequence[Encoded]) -> dict[str, Any]:
        """`input_ids`, `labels` (-100 at every row's first token), `groups`, and what tells the model the rows apart.

        That is `attention_mask` for padded rows; in a pack `position_ids` that start anew at every row, and the rows'
        bounds in the words of kernels that want them.
        """
        pad = DataCollatorForLanguageModeling(self.pad_token_id, padding_free=self.is_packed)
        batch: dict[str, Any] = pad([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])
        return {**batch, GROUPS: self._groups(rows, batch["input_ids"])}

    def _rows_of(self, sample: Mapping[str, Any]) -> Iterator[Encoded]:
        stream = self.rows[sample["split"]]
        return (stream[index] for index in range(sample["first"], sample["end"]))

    def _groups(self, rows: Sequence[Encoded], input_ids: Tensor) -> Tensor:
        groups = torch.tensor([self.groups.id_of(row) for row in rows])
        if self.is_packed:
            return groups.repeat_interleave(torch.tensor([len(row.input_ids) for row in rows]))[None]
        return groups[:, None].repeat(1, input_ids.shape[1])
