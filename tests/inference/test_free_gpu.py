import pytest
import torch

from posttrain.inference.free_gpu import free_gpu


@pytest.mark.parametrize(
    ("num_gpus", "environment", "shown"),
    [
        (8, {"LOCAL_WORLD_SIZE": "7"}, {"CUDA_VISIBLE_DEVICES": "7"}),
        (2, {}, {"CUDA_VISIBLE_DEVICES": "1"}),
        (3, {"LOCAL_WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "4,5,6"}, {"CUDA_VISIBLE_DEVICES": "6"}),
        (8, {"LOCAL_WORLD_SIZE": "8"}, {}),
        (1, {}, {}),
        (0, {}, {}),
    ],
)
def test_an_engine_gets_the_first_gpu_on_which_nobody_trains_and_else_shares(
    num_gpus: int, environment: dict[str, str], shown: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    assert free_gpu(environment) == shown
