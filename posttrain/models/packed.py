"""Sequences one behind the other in a single row: no padding, and a prompt of several responses is computed once.

Shape suffixes: L tokens of the row, N trained tokens.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posttrain.models.attention import SEGMENTS, Segment


class Packed(NamedTuple):
    """One row of several sequences that do not see each other.

    Attributes:
        input_ids: [1, L].
        position_ids: [1, L], from 0 in every sequence; those of a response go on from its prompt's.
        segments: what sees what, for our own attention.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: tuple[Segment, ...]

    def model_inputs(self, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Arguments of a model's forward.

        Without a mask and without a cache, position ids that start again keep the sequences apart under every
        attention of transformers; with either, some let them see each other in silence. FlashAttention is told the
        bounds besides: else it would look for them on the device in every layer.
        """
        bounds = torch.tensor([0, *(segment.stop for segment in self.segments)], dtype=torch.int32, device=device)
        longest = max(segment.stop - segment.start for segment in self.segments)
        return {
            "input_ids": self.input_ids.to(device),
            "position_ids": self.position_ids.to(device),
            "attention_mask": None,
            "use_cache": False,
            "segments": self.segments,
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": longest,
            "max_length_k": longest,
        }


class PackedResponses(NamedTuple):
    """Responses in a packed row, and where in it their tokens are predicted.

    Attributes:
        packed: The row.
        positions_N: Of every token of every response, in turn: where in the row it is predicted.
        targets_N: Those tokens.
        lengths: Tokens of each response.
    """

    packed: Packed
    positions_N: Tensor
    targets_N: Tensor
    lengths: list[int]


class Branches(NamedTuple):
    """A prompt and the responses to it, as token ids; none of them is empty."""

    prompt: Sequence[int]
    responses: Sequence[Sequence[int]]

    def num_tokens(self, *, share_prompt: bool) -> int:
        """Tokens it takes in a packed row."""
        copies = 1 if share_prompt else len(self.responses)
        return copies * len(self.prompt) + sum(len(response) for response in self.responses)


def shares_prompts(model: Any) -> bool:
    """Whether the model's attention can keep responses apart that share one prompt."""
    return bool(model.config._attn_implementation == SEGMENTS)


def pack(sequences: Iterable[Sequence[int]]) -> Packed:
    """Whole sequences in a row."""
    row = _Row()
    for sequence in sequences:
        row.append(sequence)
    return row.packed()


def pack_responses(groups: Iterable[Branches], *, share_prompt: bool) -> PackedResponses:
    """Prompts with their responses in a row.

    Args:
        groups: The responses of each prompt.
        share_prompt: A prompt is there once, and each of its responses sees it; only where `shares_prompts`. Else it
            is there once for each response.
    """
    row, positions, targets, lengths = _Row(), [], [], []
    for prompt, responses in groups:
        shared = row.append(prompt) if share_prompt else None
        for response in responses:
            if shared is None:
                span = row.append([*prompt, *response])
                first = span.start + len(prompt)
                positions.append(torch.arange(first - 1, span.stop - 1))
            else:
                span = row.append(response, after=shared)
                positions.append(torch.arange(span.start - 1, span.stop - 1))
                positions[-1][0] = shared.stop - 1
            targets.append(torch.as_tensor(response))
            lengths.append(len(response))
    return PackedResponses(row.packed(), torch.cat(positions), torch.cat(targets), lengths)


class _Row:
    def __init__(self) -> None:
        self._ids: list[Tensor] = []
        self._positions: list[Tensor] = []
        self._segments: list[Segment] = []

    def append(self, ids: Sequence[int], after: Segment | None = None) -> Segment:
        start = self._segments[-1].stop if self._segments else 0
        before = (after.start, after.stop) if after else (0, 0)
        position = before[1] - before[0]
        self._ids.append(torch.as_tensor(ids, dtype=torch.long))
        self._positions.append(torch.arange(position, position + len(ids)))
        self._segments.append(Segment(start, start + len(ids), before))
        return self._segments[-1]

    def packed(self) -> Packed:
        return Packed(torch.cat(self._ids)[None], torch.cat(self._positions)[None], tuple(self._segments))
