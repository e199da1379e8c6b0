import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# What a trainer leaves that samples with a vLLM engine of its own; what the engine does as the interpreter ends.
ENGINE_ENDS_LATER = """
import sys
from posttrain.environment import leave_process_group, prepare_environment

prepare_environment()

from torch import distributed
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import parallel_state

with set_current_vllm_config(VllmConfig()):
    parallel_state.init_distributed_environment(1, 0, f"file://{sys.argv[1]}", 0, "gloo")
    parallel_state.initialize_model_parallel()
leave_process_group()
assert not distributed.is_initialized()
parallel_state.cleanup_dist_env_and_memory()
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_leaving_the_process_group_leaves_the_groups_of_an_engine_in_the_process_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENGINE_ENDS_LATER, str(tmp_path / "store")]
    variables = {**os.environ, "WORLD_SIZE": "2"}  # as a launcher of two would say; the group is of one
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
