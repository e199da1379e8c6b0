"""Devices, memory, kernels, sandbox and limits: what other machines would be told."""

import resource
import sys
from pathlib import Path

import pytest

from posttrain.doctor.devices import GPU, Devices, check_devices, judge_cores, judge_devices
from posttrain.doctor.finding import Finding
from posttrain.doctor.kernels import judge_attention, judge_compiler, judge_vllm
from posttrain.doctor.limits import check_limits, judge_open_files
from posttrain.doctor.memory import GIB, check_memory, judge_memory
from posttrain.doctor.sandbox import judge_sandbox
from rewards._sandbox.process import Tier

H200 = GPU("NVIDIA H200", 140 * GIB, 139 * GIB, (9, 0))
NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("devices", "state", "told"),
    [
        (Devices([H200]), "ok", "NVIDIA H200, 140 GiB, compute capability 9.0"),
        (Devices([H200._replace(free=60 * GIB)]), "warning", "80 GiB are in use"),
        (Devices([GPU("Tesla T4", 15 * GIB, 15 * GIB, (7, 5))]), "warning", "no bfloat16"),
        (Devices([], other="2 x xpu"), "warning", "2 x xpu"),
        (Devices([]), "warning", "CPU only"),
        (Devices([], driver="535.54.03"), "fix", "NVIDIA driver 535.54.03, but torch is a build for CPUs"),
        (Devices([], driver="535.54.03", cuda="13.0"), "fix", "torch for CUDA 13.0 cannot use"),
    ],
)
def test_devices(devices: Devices, state: str, told: str) -> None:
    (finding,) = judge_devices(devices)
    assert finding.state == state
    assert told in f"{finding.found}; {finding.advice}"
    assert bool(finding.advice) == (state != "ok")


def test_every_gpu_has_a_line() -> None:
    assert [finding.what for finding in judge_devices(Devices([H200] * 3))] == ["gpu 0", "gpu 1", "gpu 2"]


def test_this_machine_has_cores_and_a_device() -> None:
    *devices, cores = check_devices()
    assert devices
    assert cores.what == "cores"
    assert judge_cores(1, 8).state == "warning"
    assert judge_cores(2, 8) == ("ok", "cores", "2 of 8", "")


def test_torch_that_cannot_be_imported_is_to_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    first, *_ = check_devices()
    assert (first.state, first.what) == ("fix", "devices")
    assert "torch cannot be imported" in first.found


@pytest.mark.parametrize(("free_gib", "state"), [(1, "fix"), (4, "warning"), (9, "ok")])
def test_memory(free_gib: int, state: str) -> None:
    assert judge_memory(free_gib * GIB, 64 * GIB, "of this machine").state == state


def test_memory_is_what_the_container_leaves_without_its_cache_of_files(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{2 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {GIB // 2}\n")
    (finding,) = check_memory(cgroup=tmp_path)
    assert (finding.state, finding.found) == ("fix", "1.5 of 3 GiB free (of the container's limit)")
    (tmp_path / "memory.max").write_text("max\n")
    (finding,) = check_memory(cgroup=tmp_path)
    assert finding.found.endswith("(of this machine)")


@pytest.mark.parametrize(
    ("finding", "state", "told"),
    [
        (judge_attention(has_gpu=False, flash_attention=None), "ok", "segments"),
        (judge_attention(has_gpu=True, flash_attention="2.9.0"), "ok", "flash-attn 2.9.0"),
        (judge_attention(has_gpu=True, flash_attention=None), "warning", "attn_implementation=flex_attention"),
        (judge_vllm(has_gpu=True, for_gpus="0.33.0", for_cpus=None), "ok", "0.33.0, for GPUs"),
        (judge_vllm(has_gpu=False, for_gpus=None, for_cpus="0.32.0"), "ok", "0.32.0, for CPUs"),
        (judge_vllm(has_gpu=False, for_gpus=None, for_cpus=None), "warning", "requirements.lock"),
        (judge_vllm(has_gpu=True, for_gpus=None, for_cpus=None), "warning", 'pip install "posttrain[vllm]"'),
        (judge_vllm(has_gpu=True, for_gpus=None, for_cpus=None, is_needed=True), "fix", "not installed"),
        (judge_vllm(has_gpu=True, for_gpus=None, for_cpus="0.32.0"), "fix", "not for GPUs"),
        (judge_vllm(has_gpu=False, for_gpus="0.33.0", for_cpus=None), "fix", "not for CPUs"),
        (judge_vllm(has_gpu=True, for_gpus="0.33.0", for_cpus="0.32.0"), "fix", "in the same folder"),
        (judge_compiler(has_gpu=False, compiler="/usr/bin/g++"), "ok", "/usr/bin/g++"),
        (judge_compiler(has_gpu=False, compiler=None), "warning", "apt install g++"),
        (judge_compiler(has_gpu=True, compiler=None), "fix", "apt install g++"),
    ],
)
def test_kernels(finding: Finding, state: str, told: str) -> None:
    assert finding.state == state
    assert told in f"{finding.found}; {finding.advice}"


@pytest.mark.parametrize(
    ("faults", "is_needed", "state", "told"),
    [
        ({Tier.BUBBLEWRAP: None, Tier.LANDLOCK: None}, True, "ok", ["A, the better"]),
        (
            {Tier.BUBBLEWRAP: "no bwrap", Tier.LANDLOCK: None},
            True,
            "warning",
            ["B: Landlock", "not A: no bwrap", "apt install", "seccomp=unconfined", "Ubuntu 24.04"],
        ),
        (
            {Tier.BUBBLEWRAP: "no bwrap", Tier.LANDLOCK: "old kernel"},
            True,
            "fix",
            ["refuses", "not A: no bwrap", "not B: old kernel", "apt install", "Landlock among"],
        ),
        ({Tier.BUBBLEWRAP: "no bwrap", Tier.LANDLOCK: "old kernel"}, False, "warning", ["refuses"]),
    ],
)
def test_sandbox(faults: dict[Tier, str | None], is_needed: bool, state: str, told: list[str]) -> None:
    finding = judge_sandbox(faults, is_needed=is_needed)
    assert finding.state == state
    for words in told:
        assert words in f"{finding.found}; {finding.advice}"


@pytest.mark.parametrize(
    ("soft", "hard", "state", "advice"),
    [
        (NO_LIMIT, NO_LIMIT, "ok", ""),
        (65536, 65536, "ok", ""),
        (1024, 1048576, "warning", "ulimit -n 65536"),
        (1024, 8192, "warning", "ulimit -n 8192"),
        (1024, NO_LIMIT, "warning", "ulimit -n 65536"),
        (1024, 1024, "warning", "in Docker --ulimit nofile=65536, else in /etc/security/limits.conf"),
        (64, 4096, "fix", "ulimit -n 4096"),
    ],
)
def test_open_files(soft: int, hard: int, state: str, advice: str) -> None:
    finding = judge_open_files(soft, hard)
    assert (finding.state, finding.advice) == (state, advice)


def test_the_limit_is_that_of_this_process() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, hard), hard))
    try:
        (finding,) = check_limits()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (finding.state, finding.found) == ("warning", "1,000 at most (ulimit -n)")
