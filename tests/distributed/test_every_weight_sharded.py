"""ZeRO-3 as large models meet it: DeepSpeed keeps small weights whole, and all of a tiny model's are small."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.conftest import Launch
from tests.distributed.test_two_processes import LAUNCHERS, RUNS, TOLERANCE

pytestmark = pytest.mark.slow

STAGES = ("sft", "rl", "pref")
ZERO = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_optimization": {
        "stage": 3,
        "stage3_param_persistence_threshold": 0,
        "stage3_gather_16bit_weights_on_model_save": True,
    },
}
CONFIG = """\
distributed_type: DEEPSPEED
num_machines: 1
num_processes: 2
deepspeed_config: {{deepspeed_config_file: {zero}, zero3_init_flag: false}}
"""


@pytest.fixture(scope="module")
def models(launch: Launch, workplace: Path) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
    """Weights by stage and by how they were trained, `whole` in one process or `sharded` in two."""
    zero, config = workplace / "zero.json", workplace / "every_weight_sharded.yaml"
    zero.write_text(json.dumps(ZERO))
    config.write_text(CONFIG.format(zero=zero))
    two = ("-m", "accelerate.commands.launch", "--config_file", str(config), "--main_process_port", "0")
    said = launch(LAUNCHERS["alone"], *([*RUNS[stage][0], f"run={stage}-whole"] for stage in STAGES))
    said += launch(two, *([*RUNS[stage][0], RUNS[stage][1], f"run={stage}-sharded"] for stage in STAGES))
    assert said.count("exit code 0") == 2, said
    return {
        (stage, how): load_file(workplace / f"{stage}-{how}" / "model" / "model.safetensors")
        for stage in STAGES
        for how in ("whole", "sharded")
    }


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_with_every_weight_sharded_end_at_the_weights_of_one(
    stage: str, models: dict[tuple[str, str], dict[str, torch.Tensor]], model_folder: Path
) -> None:
    whole, sharded, before = (
        models[stage, "whole"],
        models[stage, "sharded"],
        load_file(model_folder / "model.safetensors"),
    )
    learnt = whole["lm_head.weight"] - before["lm_head.weight"]
    assert learnt.abs().max() > 100 * TOLERANCE
    assert whole.keys() == sharded.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(sharded[name], weight, rtol=0, atol=TOLERANCE, msg=name)
