"""The loss on short rows, which growing the context must not cost."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import gather_object

from posttrain.data.encode import IGNORED, Encoded


@torch.no_grad()
def short_loss(model: Any, rows: Sequence[Encoded], *, rank: int = 0, world_size: int = 1) -> float:
    """Nats per trained token over all rows, each row by itself; the processes share them out.

    The model is put back into the mode it was in, and no random number is drawn.
    """
    was_training = model.training
    model.eval()
    try:
        sums = [_sum(model, rows[index]) for index in range(rank, len(rows), world_size)]
    finally:
        model.train(was_training)
    gathered: list[tuple[float, int]] = gather_object(sums)
    return sum(loss for loss, _ in gathered) / sum(tokens for _, tokens in gathered)


def _sum(model: Any, row: Encoded) -> tuple[float, int]:
    """The loss of a row's trained tokens, and their number."""
    labels = torch.tensor(row.labels, device=model.device)
    places_N = (labels[1:] != IGNORED).nonzero()[:, 0]
    ids = torch.tensor([row.input_ids], device=model.device)
    logits_NV = model(input_ids=ids, logits_to_keep=places_N, use_cache=False).logits[0]
    loss = torch.nn.functional.cross_entropy(logits_NV.float(), labels[places_N + 1], reduction="sum")
    return loss.item(), len(places_N)
