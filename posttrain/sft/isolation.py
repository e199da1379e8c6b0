"""The proof, on the model that is to be trained, that the rows of a pack do not see each other."""

from itertools import pairwise
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor
from transformers import TrainerCallback

from posttrain.data.encode import Encoded
from posttrain.errors import UserError
from posttrain.sft.collator import GROUPS, Collator
from posttrain.sft.samples import Samples

TOLERANCE = 1e-5  # nats; most kernels give the same bits


class ProveIsolation(TrainerCallback):
    """Before the first step: other tokens in the first row of a pack must move nothing in the second.

    An attention kernel, a mask or a cache that disregards the rows' bounds raises no error: losses only look a little
    too good. The model is asked as it is trained, wrapped and perhaps in shards, so every process takes part.
    """

    def __init__(self, trainer: Any, samples: Samples, collator: Collator) -> None:
        self._trainer, self._samples, self._collator = trainer, samples, collator

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the first two rows that share a pack.

        Raises:
            UserError: the model does not keep them apart, or the sequence is split between processes.
        """
        parallelism = self._trainer.accelerator.parallelism_config
        if parallelism is not None and (parallelism.cp_enabled or parallelism.sp_enabled):
            raise UserError("context or sequence parallelism splits packs across rows; leave out data.pack_tokens")
        first = next((first for first, end in pairwise(self._samples.bounds) if end - first > 1), None)
        if first is None:
            return
        rows = self._samples.rows[first], self._samples.rows[first + 1]
        for is_training in (False, True):
            moved = self._largest_move(*rows, is_training=is_training)
            if not moved <= TOLERANCE:
                raise UserError(_leak(self._trainer.model.config, moved, is_training=is_training))

    def _largest_move(self, first: Encoded, second: Encoded, *, is_training: bool) -> float:
        """In nats, over every token of the second row that is predicted."""
        vocab_size = self._trainer.model.get_input_embeddings().num_embeddings
        other = first._replace(input_ids=[(token + 1) % vocab_size for token in first.input_ids])
        was_training = self._trainer.model.training
        self._trainer.model_wrapped.train(is_training)
        try:
            before, after = (self._logps(row, second)[len(first.input_ids) - 1 :] for row in (first, other))
        finally:
            self._trainer.model_wrapped.train(was_training)
        return (before - after).abs().max().item()

    @torch.no_grad()
    def _logps(self, *rows: Encoded) -> Tensor:
        device = self._trainer.accelerator.device
        inputs = send_to_device(self._collator.collate([row._replace(labels=row.input_ids) for row in rows]), device)
        del inputs[GROUPS]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)  # dropout draws the same numbers for both
            with self._trainer.compute_loss_context_manager():
                outputs, _ = self._trainer.score(self._trainer.model_wrapped, **inputs)
        logps: Tensor = outputs.log_probs[0]
        return logps


def _leak(config: Any, moved: float, *, is_training: bool) -> str:
    return (
        f"the rows of a pack see each other: with other tokens in the first, log-probabilities in the second moved by "
        f"up to {moved:.2g} ({type(config).__name__}, attention '{config._attn_implementation}', "
        f"{'training' if is_training else 'evaluation'} mode); set model.attn_implementation to one that keeps them "
        "apart (sdpa, eager, flash_attention_2), or leave out data.pack_tokens"
    )
