"""Our accelerate files say what their comments promise, read by accelerate itself, also where no GPU can run them."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate import DistributedType, FullyShardedDataParallelPlugin
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from torch.distributed.fsdp import StateDictType

FOLDER = Path(__file__).parents[2] / "recipes" / "accelerate"


def load(name: str) -> Any:
    return load_config_from_file(str(FOLDER / f"{name}.yaml"))


def test_every_file_is_tested_here() -> None:
    names = {"single", "ddp", "zero2", "zero3", "fsdp2", "zero3_nodes", "fsdp2_nodes"}
    assert {path.stem for path in FOLDER.glob("*.yaml")} == names


@pytest.mark.parametrize(
    ("name", "distributed_type", "num_processes"),
    [
        ("single", DistributedType.NO, 1),
        ("ddp", DistributedType.MULTI_GPU, 2),
        ("zero2", DistributedType.DEEPSPEED, 2),
        ("zero3", DistributedType.DEEPSPEED, 2),
        ("fsdp2", DistributedType.FSDP, 2),
    ],
)
def test_file_names_its_way_to_distribute_and_leaves_precision_to_the_recipe(
    name: str, distributed_type: DistributedType, num_processes: int
) -> None:
    config = load(name)
    assert config.distributed_type == distributed_type
    assert (config.num_processes, config.num_machines) == (num_processes, 1)
    assert config.mixed_precision == "no"
    assert not config.use_cpu  # where there is no GPU, the stages choose the CPU themselves


@pytest.mark.parametrize(("name", "stage", "saves_whole_weights"), [("zero2", 2, False), ("zero3", 3, True)])
def test_deepspeed_shards_what_its_stage_does_and_keeps_it_on_the_device(
    name: str, stage: int, saves_whole_weights: bool
) -> None:
    config = load(name).deepspeed_config
    assert config["zero_stage"] == stage
    assert config["zero3_save_16bit_model"] is saves_whole_weights  # the export gathers the shards
    assert config["zero3_init_flag"] is False
    assert config["offload_optimizer_device"] == config["offload_param_device"] == "none"


@pytest.mark.parametrize("name", ["zero3", "fsdp2"])
def test_file_for_several_nodes_differs_from_that_for_one_in_their_number_alone(name: str) -> None:
    one, several = load(name), load(f"{name}_nodes")
    assert (several.num_machines, several.num_processes) == (2, 16)
    several.num_machines, several.num_processes = one.num_machines, one.num_processes
    several.deepspeed_config.pop("deepspeed_multinode_launcher", None)
    assert several == one


@pytest.mark.parametrize("name", ["zero3_nodes", "fsdp2_nodes"])
def test_every_node_starts_its_own_processes_and_meets_the_others_at_the_first(name: str) -> None:
    words = ["--config_file", str(FOLDER / f"{name}.yaml"), "--num_machines", "3", "--num_processes", "24"]
    words += ["--machine_rank", "2", "--main_process_ip", "n1", "--main_process_port", "29500", "-m", "posttrain"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    if name == "zero3_nodes":
        arguments.deepspeed_fields_from_accelerate_config = []  # launch_command sets it
        command, _ = prepare_deepspeed_cmd_env(arguments)
        assert command is None  # nothing for DeepSpeed's launcher, which would reach for the other nodes by ssh
    else:
        prepare_multi_gpu_env(arguments)
    assert (arguments.nnodes, arguments.nproc_per_node, arguments.node_rank) == ("3", "8", 2)
    assert arguments.rdzv_endpoint == "n1:29500"


@pytest.mark.slow
def test_launchers_of_two_nodes_make_one_world(tmp_path: Path) -> None:
    """Both on this machine, where accelerate starts processes without GPUs under DeepSpeed's settings alone."""
    script = tmp_path / "ranks.py"
    script.write_text(
        "import torch\nfrom accelerate import PartialState\n\n"
        "state = PartialState(cpu=not torch.cuda.is_available())\n"
        "total = torch.tensor([state.process_index + 1.0], device=state.device)\n"
        "torch.distributed.all_reduce(total)\n"
        "print('ranks', state.process_index, state.num_processes, int(total), flush=True)\n"
        "torch.distributed.destroy_process_group()\n"
    )
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    words = ["-m", "accelerate.commands.launch", "--config_file", str(FOLDER / "zero3_nodes.yaml")]
    words += [
        "--num_machines",
        "2",
        "--num_processes",
        "2",
        "--main_process_ip",
        "localhost",
        "--main_process_port",
        port,
    ]
    nodes = [
        subprocess.Popen(
            [sys.executable, *words, "--machine_rank", rank, str(script)], stdout=subprocess.PIPE, text=True
        )
        for rank in ("0", "1")
    ]
    said = [node.communicate(timeout=300)[0] for node in nodes]
    for rank in (0, 1):
        assert f"ranks {rank} 2 3" in said[rank]


def test_fsdp2_reaches_the_plugin_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--config_file", str(FOLDER / "fsdp2.yaml"), "--main_process_port", "0", "-m", "posttrain"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    for key, value in prepare_multi_gpu_env(arguments).items():
        if key.startswith("FSDP_"):
            monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type == StateDictType.FULL_STATE_DICT
    assert plugin.auto_wrap_policy.__name__ == "transformer_auto_wrap_policy"
    assert plugin.cpu_ram_efficient_loading is True
