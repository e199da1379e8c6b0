import torch

from posttrain.rl.trainer import _without_dead_rows_and_padding


def batch(is_live: list[bool]) -> dict[str, torch.Tensor]:
    return {
        "prompt_ids": torch.tensor([[0, 0, 5], [0, 6, 7], [8, 9, 1]]),  # padded on the left with 0
        "prompt_mask": torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 1]]),
        "completion_ids": torch.tensor([[11, 0, 0, 0], [12, 13, 0, 0], [14, 15, 16, 17]]),
        "completion_mask": torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]),
        "advantages": torch.tensor([1.0, -1.0, 0.5]),
        "is_live": torch.tensor(is_live),
        "sampling_per_token_logps": torch.zeros(3, 4),
        "num_live_sequences": torch.tensor(2.0),
    }


def test_dead_rows_leave_and_take_their_padding_along() -> None:
    kept = _without_dead_rows_and_padding(batch([True, True, False]))
    assert kept["prompt_ids"].tolist() == [[0, 5], [6, 7]]
    assert kept["completion_ids"].tolist() == [[11, 0], [12, 13]]
    assert kept["sampling_per_token_logps"].shape == (2, 2)
    assert kept["advantages"].tolist() == [1.0, -1.0]


def test_live_rows_are_kept_whole() -> None:
    inputs = batch([True, True, True])
    kept = _without_dead_rows_and_padding(inputs)
    assert all(torch.equal(kept[key], inputs[key]) for key in kept)


def test_a_batch_without_a_live_row_keeps_one_dead_row_for_the_forward_pass() -> None:
    kept = _without_dead_rows_and_padding(batch([False, False, False]))
    assert kept["is_live"].tolist() == [False]
    assert kept["prompt_ids"].tolist() == [[5]]
