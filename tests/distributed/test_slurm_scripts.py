"""The batch scripts start what they promise on the nodes they promise; small programs stand in for Slurm."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed.launcher.api import LaunchConfig

PROJECT = Path(__file__).parents[2]
RECIPE = "recipes/exaone-4.0-32b/rl.yaml"

# Every program writes down its name, its arguments and its rank. `srun` runs its command once a task, on this machine.
PROGRAMS = {
    "srun": """
ntasks = int(words[words.index("--ntasks") + 1])
first = next(i for i, word in enumerate(words) if word in ("bash", "trl"))
tasks = [subprocess.Popen(words[first:], env={**os.environ, "SLURM_PROCID": str(i)}) for i in range(ntasks)]
sys.exit(max(task.wait() for task in tasks))
""",
    "scontrol": "print(*(words[2].split(',') if words[0] == 'show' else []), sep='\\n')",
    "scancel": "[os.kill(int(file.name), signal.SIGTERM) for file in log.parent.glob('running/*')]",
    "accelerate": "sys.exit(wait_for_the_end())",
    "trl": "pass",
    "posttrain": "pass",
}
HEAD = f"""#!{sys.executable}
import json, os, signal, subprocess, sys, time
from pathlib import Path
words, log = sys.argv[1:], Path(os.environ["CALLS"])
call = {{"program": Path(sys.argv[0]).name, "words": words, "rank": os.environ.get("SLURM_PROCID")}}
call["variables"] = dict(os.environ)
with log.open("a") as file:
    file.write(json.dumps(call) + "\\n")

def wait_for_the_end():
    if os.environ.get("ENDS_WITH"):
        return int(os.environ["ENDS_WITH"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    (log.parent / "running" / str(os.getpid())).touch()
    time.sleep(60)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "running").mkdir()
    for name, body in PROGRAMS.items():
        (programs / name).write_text(HEAD + body + "\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    job = {"SLURM_SUBMIT_DIR": str(PROJECT), "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1,n2,n3"}
    return {**os.environ, **job, "PATH": path, "CALLS": str(tmp_path / "calls.jsonl"), "PYTHONPATH": str(PROJECT)}


def calls(environment: dict[str, str], program: str) -> list[dict[str, object]]:
    path = Path(environment["CALLS"])
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return sorted((call for call in lines if call["program"] == program), key=lambda call: str(call["rank"]))


def submit(environment: dict[str, str], script: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(PROJECT / "recipes" / "slurm" / script), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_training_runs_a_launcher_on_every_node_and_goes_on_where_it_was(environment: dict[str, str]) -> None:
    done = submit({**environment, "ENDS_WITH": "0"}, "train.sbatch", "sft", "recipes/x.yaml", "seed=1")
    assert done.returncode == 0, done.stderr
    launched = calls(environment, "accelerate")
    assert [call["rank"] for call in launched] == ["0", "1", "2"]
    for rank, call in enumerate(launched):
        said = " ".join(call["words"])  # type: ignore[arg-type]
        assert "--config_file recipes/accelerate/zero3_nodes.yaml --num_machines 3 --num_processes 24" in said
        assert f"--machine_rank {rank} --main_process_ip n1 --main_process_port 29500" in said
        assert said.endswith("-m posttrain sft recipes/x.yaml seed=1 --resume --skip-finished")
    assert [call["words"] for call in calls(environment, "posttrain")] == [
        ["check", "recipes/x.yaml", "seed=1", "--config-only"]
    ]
    assert not calls(environment, "scancel")


def test_rl_samples_on_the_last_node_and_trains_on_the_others(environment: dict[str, str]) -> None:
    done = submit({**environment, "ENDS_WITH": "0"}, "rl.sbatch", RECIPE, "model.path=runs/mine")
    assert done.returncode == 0, done.stderr
    [server, trainers] = sorted(calls(environment, "srun"), key=lambda call: "trl" not in call["words"])  # type: ignore[operator]
    assert server["words"] == [
        *("--nodes", "1", "--ntasks", "1", "--nodelist", "n3", "trl", "vllm-serve", "--model", "runs/mine"),
        *("--host", "0.0.0.0", "--port", "8000", "--dtype", "bfloat16"),
        *("--tensor-parallel-size", "8", "--max-model-len", "20480"),
    ]
    assert "--nodelist n1,n2 " in " ".join(trainers["words"])  # type: ignore[arg-type]
    launched = calls(environment, "accelerate")
    assert [call["rank"] for call in launched] == ["0", "1"]
    assert "--num_machines 2 --num_processes 16" in " ".join(launched[0]["words"])  # type: ignore[arg-type]
    assert "trainer.vllm_server_base_url=http://n3:8000" in launched[0]["words"]  # type: ignore[operator]


def test_port_of_the_server_is_not_vllms_own_variable(environment: dict[str, str]) -> None:
    variables = {**environment, "ENDS_WITH": "0", "ROLLOUT_PORT": "9000", "VLLM_PORT": "7000"}
    assert submit(variables, "rl.sbatch", RECIPE).returncode == 0
    [server] = calls(environment, "trl")
    assert server["words"][server["words"].index("--port") + 1] == "9000"  # type: ignore[attr-defined, index]


def test_tasks_get_the_cores_of_the_job_and_time_to_write_a_checkpoint(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit({**environment, "ENDS_WITH": "0", "SLURM_CPUS_PER_TASK": "64"}, "train.sbatch", "sft", "recipes/x.yaml")
    launched = calls(environment, "accelerate")
    assert launched
    for call in launched:
        variables: dict[str, str] = call["variables"]  # type: ignore[assignment]
        assert variables["SRUN_CPUS_PER_TASK"] == "64"
        monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", variables["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
        patience = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1).shutdown_timeout
        assert patience is not None
        assert 200 < patience < 300  # Slurm tells the job five minutes before the end


def test_job_fails_as_its_training_does(environment: dict[str, str]) -> None:
    assert submit({**environment, "ENDS_WITH": "3"}, "train.sbatch", "sft", "recipes/x.yaml").returncode == 3
    assert all(call["words"][0] == "show" for call in calls(environment, "scontrol"))  # type: ignore[index]


def test_job_that_is_told_to_stop_interrupts_its_training_and_goes_back_into_the_queue(
    environment: dict[str, str], tmp_path: Path
) -> None:
    script = ["bash", str(PROJECT / "recipes" / "slurm" / "train.sbatch"), "sft", "recipes/x.yaml"]
    with subprocess.Popen(script, env=environment) as job:
        until = time.monotonic() + 60
        while len(list((tmp_path / "running").iterdir())) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 0
    assert [call["words"] for call in calls(environment, "scancel")] == [["--signal=TERM", "7"]]
    assert ["requeue", "7"] in [call["words"] for call in calls(environment, "scontrol")]
