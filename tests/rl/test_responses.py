"""Unpadding, cutting by length and padding again lose nothing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl.responses import Response, collate, parts_needed, split_by_length, unpadded

CPU = torch.device("cpu")


def padded_batch() -> dict[str, torch.Tensor]:
    return {
        "prompt_ids": torch.tensor([[0, 0, 5], [0, 6, 7], [8, 9, 1]]),  # padded on the left with 0
        "prompt_mask": torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 1]]),
        "completion_ids": torch.tensor([[11, 0, 0, 0], [12, 13, 0, 0], [14, 15, 16, 17]]),
        "completion_mask": torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]),
        "sampling_per_token_logps": -torch.arange(12.0).view(3, 4),
    }


def test_responses_come_without_padding() -> None:
    responses = unpadded(padded_batch())
    assert [response.prompt_ids.tolist() for response in responses] == [[5], [6, 7], [8, 9, 1]]
    assert [response.completion_ids.tolist() for response in responses] == [[11], [12, 13], [14, 15, 16, 17]]
    assert [response.length for response in responses] == [2, 4, 7]
    assert responses[1].sampling_logps is not None
    assert responses[1].sampling_logps.tolist() == [-4.0, -5.0]
    assert all(response.trained.all() for response in responses)


def test_log_probabilities_are_the_engines_or_else_the_trainers_own() -> None:
    own = {"old_per_token_logps": torch.full((3, 4), -7.0)}
    (first, *_) = unpadded(padded_batch() | own)
    assert first.sampling_logps is not None
    assert first.sampling_logps.tolist() == [0.0]
    without_engine = {name: value for name, value in padded_batch().items() if name != "sampling_per_token_logps"}
    (first, *_) = unpadded(without_engine | own)
    assert first.sampling_logps is not None
    assert first.sampling_logps.tolist() == [-7.0]
    assert unpadded(without_engine)[0].sampling_logps is None


def test_what_a_tool_wrote_is_read_but_not_trained() -> None:
    tool_mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 1]])
    responses = unpadded({**padded_batch(), "tool_mask": tool_mask})
    assert [response.trained.tolist() for response in responses] == [[True], [False, True], [True, False, False, True]]
    batch = collate(responses, pad_id=0, device=CPU)
    assert batch.input_ids.tolist() == [[5, 11, 0, 0, 0, 0, 0], [6, 7, 12, 13, 0, 0, 0], [8, 9, 1, 14, 15, 16, 17]]
    assert batch.targets_N.tolist() == [11, 13, 14, 17]
    # Position t predicts the token at t + 1.
    assert batch.predicts_BL.nonzero().tolist() == [[0, 0], [1, 2], [2, 2], [2, 5]]
    assert batch.mask_BT.tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [True, False, False, True],
    ]


def test_a_micro_batch_knows_the_sampling_policy_only_if_every_response_does() -> None:
    tokens, trained = torch.tensor([4, 5]), torch.ones(2, dtype=torch.bool)
    known = Response(tokens, tokens, trained, sampling_logps=torch.tensor([-1.0, -2.0]), advantage=0.5)
    unknown = Response(tokens, tokens, trained, is_live=False)
    assert collate([known], pad_id=0, device=CPU).sampling_logps_BT is not None
    batch = collate([known, unknown], pad_id=0, device=CPU)
    assert batch.sampling_logps_BT is None
    assert batch.advantages_B.tolist() == [0.5, 0.0]
    assert batch.is_live_B.tolist() == [True, False]


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 8))
def test_every_sequence_is_in_exactly_one_part_and_parts_are_runs_of_like_length(
    lengths: list[int], parts: int
) -> None:
    cut = split_by_length(lengths, parts)
    assert len(cut) == parts
    assert sorted(index for part in cut for index in part) == list(range(len(lengths)))
    in_order = [lengths[index] for part in cut for index in part]
    assert in_order == sorted(lengths)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.integers(1, 4))
def test_no_other_cut_of_the_sorted_lengths_has_a_smaller_largest_part(lengths: list[int], parts: int) -> None:
    def size(part: list[int]) -> int:
        return len(part) * max(part, default=0)

    def best(rest: list[int], left: int) -> int:
        if left == 1:
            return size(rest)
        return min(max(size(rest[:stop]), best(rest[stop:], left - 1)) for stop in range(len(rest) + 1))

    got = max(size([lengths[index] for index in part]) for part in split_by_length(lengths, parts))
    assert got == best(sorted(lengths), parts)


@pytest.mark.parametrize("parts", [1, 3])
def test_nothing_to_cut_gives_empty_parts(parts: int) -> None:
    assert split_by_length([], parts) == [[] for _ in range(parts)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 8))
def test_enough_parts_keep_every_micro_batch_within_so_many_of_the_longest(lengths: list[int], rows: int) -> None:
    parts = parts_needed(lengths, rows)
    assert parts <= -(-len(lengths) // rows)  # as many as without sorting, or fewer
    for part in split_by_length(lengths, parts):
        assert len(part) * max((lengths[index] for index in part), default=0) <= rows * max(lengths)


def test_nothing_to_cut_needs_one_part() -> None:
    assert parts_needed([], 4) == 1
