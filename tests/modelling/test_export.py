"""What real trainers under DDP, ZeRO and with adapters leave is exported in `tests/distributed`."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing import start_processes
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain import cli
from posttrain.modelling.export import SHARDS
from posttrain.run_folder.seals import seal

REST = ("optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """What is beside the weights in the checkpoint of a run; to be sealed."""
    folder = tmp_path / "run/checkpoints/checkpoint-4"
    folder.mkdir(parents=True)
    for name in REST:
        (folder / name).touch()
    return folder


def export(checkpoint: Path, out: Path) -> int:
    return cli.main(["model", "export", str(checkpoint), "--out", str(out)])


def assert_same_model(folder: Path, expected: Path) -> None:
    got, before = (AutoModelForCausalLM.from_pretrained(each).state_dict() for each in (folder, expected))
    assert got.keys() == before.keys()
    assert all(torch.equal(got[name], before[name]) for name in got)
    template = AutoTokenizer.from_pretrained(folder).chat_template
    assert template
    assert template == AutoTokenizer.from_pretrained(expected).chat_template


def test_whole_weights_become_a_model_folder_and_the_optimizer_stays_behind(
    checkpoint: Path, model_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    shutil.copytree(model_folder, checkpoint, dirs_exist_ok=True)
    seal(checkpoint, 4, {"world_size": 1})
    out = tmp_path / "new/model"
    assert export(checkpoint, out) == 0
    assert "checkpoint-4, its whole weights" in capsys.readouterr().out
    assert_same_model(out, model_folder)
    assert not any((out / name).exists() for name in REST)
    assert [each.name for each in out.parent.iterdir()] == ["model"]


def shard_over_two(rank: int, model_folder: Path, checkpoint: Path, store: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    dcp.save({"model": get_model_state_dict(model)}, storage_writer=dcp.FileSystemWriter(checkpoint / SHARDS))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_shards_of_fsdp2_are_put_together_with_what_the_run_says_of_its_model(
    checkpoint: Path, model_folder: Path, tmp_path: Path
) -> None:
    start_processes(shard_over_two, (model_folder, checkpoint, tmp_path / "store"), nprocs=2, start_method="spawn")
    seal(checkpoint, 4, {"world_size": 1})
    assert len(list((checkpoint / SHARDS).glob("__?_0.distcp"))) == 2
    (tmp_path / "run/recipe.yaml").write_text(f"stage: sft\nmodel: {{path: {model_folder}}}\n")
    assert export(checkpoint, tmp_path / "model") == 0
    assert_same_model(tmp_path / "model", model_folder)


def test_a_checkpoint_that_is_not_as_it_was_written_is_refused(
    checkpoint: Path, model_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    shutil.copytree(model_folder, checkpoint, dirs_exist_ok=True)
    seal(checkpoint, 4, {"world_size": 1})
    with (checkpoint / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    assert export(checkpoint, tmp_path / "model") == 2
    assert "model.safetensors has another checksum; give another one" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_folder_that_is_there_is_left_alone(model_folder: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "model").mkdir()
    assert export(tmp_path, tmp_path / "model") == 2
    assert "is there already; give another --out" in capsys.readouterr().err
    assert not list((tmp_path / "model").iterdir())


def test_what_is_no_checkpoint_is_refused(model_folder: Path, tmp_path: Path, capsys: Any) -> None:
    assert export(tmp_path / "absent", tmp_path / "model") == 2
    assert "no checkpoint at" in capsys.readouterr().err
    assert export(model_folder, tmp_path / "model") == 2
    assert "MANIFEST.json is missing" in capsys.readouterr().err


def test_shards_without_their_run_are_refused(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    (checkpoint / "global_step4").mkdir()
    (checkpoint / "global_step4/zero_pp_rank_0_mp_rank_00_model_states.pt").touch()
    (checkpoint / "latest").write_text("global_step4")
    seal(checkpoint, 4, {"world_size": 1})
    assert export(checkpoint, tmp_path / "model") == 2
    assert "has no config.json, and there is no" in capsys.readouterr().err
