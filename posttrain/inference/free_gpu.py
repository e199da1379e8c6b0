"""A GPU for an engine beside the trainer's processes."""

from collections.abc import Mapping

import torch


def free_gpu(environment: Mapping[str, str]) -> dict[str, str]:
    """The variable that shows a process the first GPU on which none of this launch trains.

    Processes of a launch train on the first GPUs, each on one. Where they take all, nothing is set: the engine shares
    that of the first process, which started it.

    Args:
        environment: of that process.
    """
    taken = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    if not torch.cuda.is_available() or torch.cuda.device_count() <= taken:
        return {}
    visible = environment.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[taken]}
