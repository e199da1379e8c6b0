"""Responses as the update wants them: unpadded, sorted by length, cut into micro-batches of like size.

Shape suffixes: B sequences of a micro-batch, L tokens of a whole sequence, T tokens of a completion, N trained tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Response:
    """One sampled completion and what the loss needs to know about it.

    Attributes:
        prompt_ids: [P] tokens, without padding.
        completion_ids: [C] tokens, without padding.
        trained: [C] which of them bear loss; tokens that a tool wrote do not.
        sampling_logps: [C] log-probabilities as the policy that sampled them gave them; None: not known.
        advantage: its advantage, when it is live.
        is_live: whether it takes part in the loss at all.
    """

    prompt_ids: Tensor
    completion_ids: Tensor
    trained: Tensor
    sampling_logps: Tensor | None = None
    advantage: float = 0.0
    is_live: bool = True

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Sequences padded on the right to the longest of them.

    Attributes:
        input_ids: [B, L].
        predicts_BL: positions whose *next* token is trained: the only ones that need the language-model head.
        targets_N: those next tokens, row by row.
        mask_BT: trained tokens of the completions.
        sampling_logps_BT: 0 where the mask is off; None: not known.
        ref_logps_BT: of the reference model; None: not needed.
        advantages_B: advantages.
        is_live_B: sequences that take part in the loss.
    """

    input_ids: Tensor
    predicts_BL: Tensor
    targets_N: Tensor
    mask_BT: Tensor
    sampling_logps_BT: Tensor | None
    ref_logps_BT: Tensor | None
    advantages_B: Tensor
    is_live_B: Tensor


def unpadded(batch: dict[str, Tensor]) -> list[Response]:
    """The responses in TRL's padded generation batch, in its order, on the CPU."""
    batch = {key: value.cpu() for key, value in batch.items() if isinstance(value, Tensor)}
    trained_BT = batch["completion_mask"].bool()
    if "tool_mask" in batch:
        trained_BT = trained_BT & batch["tool_mask"].bool()
    logps_BT = batch.get("sampling_per_token_logps", batch.get("old_per_token_logps"))
    responses = []
    for row in range(len(batch["prompt_ids"])):
        is_prompt, is_completion = batch["prompt_mask"][row].bool(), batch["completion_mask"][row].bool()
        responses.append(
            Response(
                prompt_ids=batch["prompt_ids"][row][is_prompt],
                completion_ids=batch["completion_ids"][row][is_completion],
                trained=trained_BT[row][is_completion],
                sampling_logps=None if logps_BT is None else logps_BT[row][is_completion],
            )
        )
    return responses


def split_by_length(lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Cut sequences into `parts` micro-batches whose largest padded size is as small as can be.

    Args:
        lengths: tokens of each sequence.
        parts: micro-batches, 1 or more.

    Returns:
        Indices into `lengths`, every index once, each part sorted by length; parts may be empty at the end.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    ascending = [lengths[index] for index in order]
    low, high = max(ascending, default=0), max(ascending, default=0) * len(ascending)
    while low < high:  # the smallest budget of padded tokens under which `parts` suffice
        budget = (low + high) // 2
        if len(_fill(ascending, budget)) <= parts:
            high = budget
        else:
            low = budget + 1
    filled = [order[start:stop] for start, stop in _fill(ascending, low)]
    return filled + [[] for _ in range(parts - len(filled))]


def parts_needed(lengths: Sequence[int], rows: int) -> int:
    """Into how many parts to cut, so that none is larger than `rows` sequences of the longest length; at least 1."""
    ascending = sorted(lengths)
    return max(1, len(_fill(ascending, rows * max(ascending, default=0))))


def _fill(lengths: Sequence[int], budget: int) -> list[tuple[int, int]]:
    """Cut ascending lengths into runs of at most `budget` tokens, padding to the longest included."""
    runs, start = [], 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or (stop + 1 - start) * lengths[stop] > budget:
            runs.append((start, stop))
            start = stop
    return runs


def collate(responses: Sequence[Response], *, pad_id: int, device: torch.device) -> MicroBatch:
    """Pad a micro-batch on the right, and say where the head is needed."""
    longest = max(response.length for response in responses)
    num_tokens = max(len(response.completion_ids) for response in responses)
    input_ids = torch.full((len(responses), longest), pad_id, dtype=torch.long)
    predicts_BL = torch.zeros((len(responses), longest), dtype=torch.bool)
    mask_BT = torch.zeros((len(responses), num_tokens), dtype=torch.bool)
    for row, response in enumerate(responses):
        start, stop = len(response.prompt_ids), response.length
        input_ids[row, :start] = response.prompt_ids
        input_ids[row, start:stop] = response.completion_ids
        predicts_BL[row, start - 1 : stop - 1] = response.trained
        mask_BT[row, : stop - start] = response.trained
    return MicroBatch(
        input_ids=input_ids.to(device),
        predicts_BL=predicts_BL.to(device),
        targets_N=torch.cat([response.completion_ids[response.trained] for response in responses]).to(device),
        mask_BT=mask_BT.to(device),
        sampling_logps_BT=_padded([response.sampling_logps for response in responses], num_tokens, device),
        ref_logps_BT=None,
        advantages_B=torch.tensor([response.advantage for response in responses], device=device),
        is_live_B=torch.tensor([response.is_live for response in responses], device=device),
    )


def _padded(rows: Sequence[Tensor | None], num_tokens: int, device: torch.device) -> Tensor | None:
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    padded = torch.zeros((len(rows), num_tokens))
    for index, row in enumerate(known):
        padded[index, : len(row)] = row
    return padded.to(device)
