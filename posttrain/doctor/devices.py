"""The processors: GPUs that torch can use, and cores."""

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.doctor.finding import Finding, fix, ok, warning

GIB = 2**30
DRIVER = Path("/proc/driver/nvidia/version")
BFLOAT16 = (8, 0)  # the compute capability from which on bfloat16 and FlashAttention work
BUSY_SHARE = 0.1  # of a GPU's memory, in use before we begin


class GPU(NamedTuple):
    """A GPU; memory in bytes."""

    name: str
    memory: int
    free: int
    capability: tuple[int, int]


class Devices(NamedTuple):
    """What torch sees.

    Attributes:
        gpus: NVIDIA's (and AMD's, which torch takes for the same).
        other: an accelerator of another kind, as `2 x xpu`; empty: none.
        cuda: the CUDA or ROCm version that torch was built for; None: a build for CPUs.
        driver: the NVIDIA driver's version; None: there is none.
    """

    gpus: Sequence[GPU]
    other: str = ""
    cuda: str | None = None
    driver: str | None = None


def check_devices() -> Iterator[Finding]:
    """A line a GPU, or why there is none; and the cores."""
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        yield fix("devices", f"torch cannot be imported ({error})", "install it again, as pinned in requirements.lock")
    else:
        yield from judge_devices(_look(torch))
    yield judge_cores(len(os.sched_getaffinity(0)), os.cpu_count() or 1)


def judge_devices(devices: Devices) -> Iterator[Finding]:
    """What they are good for."""
    for number, gpu in enumerate(devices.gpus):
        yield _judge_gpu(f"gpu {number}", gpu)
    if devices.gpus:
        return
    if devices.other:
        advice = "the stages know CUDA, ROCm and the CPU; on others they may run, and nothing was tried"
        yield warning("devices", devices.other, advice)
    elif devices.driver is None:
        advice = "the demo and recipes/smollm2-135m run on it; larger models need a GPU"
        yield warning("devices", "CPU only", advice)
    elif devices.cuda is None:
        found = f"NVIDIA driver {devices.driver}, but torch is a build for CPUs"
        yield fix("devices", found, "install the same version of torch as a CUDA build (https://pytorch.org)")
    else:
        found = f"NVIDIA driver {devices.driver}, which torch for CUDA {devices.cuda} cannot use"
        advice = (
            "see that nvidia-smi lists the GPUs (in Docker: --gpus all) and that CUDA_VISIBLE_DEVICES is not empty; "
            "else update the driver"
        )
        yield fix("devices", found, advice)


def judge_cores(usable: int, total: int) -> Finding:
    """The cores that this process may use."""
    found = f"{usable} of {total}"
    if usable > 1:
        return ok("cores", found)
    return warning("cores", found, "give it 2 or more: rewards are graded in processes beside the trainer")


def _judge_gpu(what: str, gpu: GPU) -> Finding:
    major, minor = gpu.capability
    found = f"{gpu.name}, {gpu.memory / GIB:.0f} GiB, compute capability {major}.{minor}"
    used = gpu.memory - gpu.free
    if used > BUSY_SHARE * gpu.memory:
        advice = "nvidia-smi names the process that has it; vLLM asks for a share of all memory and will not start"
        return warning(what, f"{found}; {used / GIB:.0f} GiB are in use", advice)
    if gpu.capability < BFLOAT16:
        return warning(
            what, found, "it has no bfloat16 and no FlashAttention: model.dtype=float16 or float32, and sdpa"
        )
    return ok(what, found)


def _look(torch: Any) -> Devices:
    driver = None
    if DRIVER.is_file():
        words = DRIVER.read_text(encoding="utf-8").split()
        driver = next((word for word in words if word.replace(".", "").isdecimal()), "of unknown version")
    build = torch.version.cuda or torch.version.hip
    if not torch.accelerator.is_available():
        return Devices([], cuda=build, driver=driver)
    kind, count = torch.accelerator.current_accelerator().type, torch.accelerator.device_count()
    if kind != "cuda":
        return Devices([], other=f"{count} x {kind}", cuda=build, driver=driver)
    gpus = []
    for index in range(count):
        properties = torch.cuda.get_device_properties(index)
        free, memory = torch.cuda.mem_get_info(index)
        gpus.append(GPU(properties.name, memory, free, (properties.major, properties.minor)))
    return Devices(gpus, cuda=build, driver=driver)
