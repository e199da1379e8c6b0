from pathlib import Path

import pytest
import torch

from posttrain.inference.engine_process import EngineProcess
from posttrain.inference.free_gpu import free_gpu
from posttrain.inference.policies import PolicySpec
from posttrain.recipe import ModelSection


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


def test_an_engine_inherits_nothing_of_a_launcher_and_sees_the_free_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With torchrun's word about its store, vLLM would look for one at an address of its own, and wait in vain."""
    launched = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    spec = PolicySpec("transformers", ModelSection(path="none"), None, {}, {})
    engine = EngineProcess(spec)
    try:
        given = Path(f"/proc/{engine.pid}/environ").read_text().split("\0")
    finally:
        engine.close()
    assert not [line for line in given if line.partition("=")[0] in launched]
    assert "CUDA_VISIBLE_DEVICES=2" in given
