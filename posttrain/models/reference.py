"""A reference model that lies on the devices as the policy does."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from trl.models import prepare_fsdp

from posttrain.models.patching import replaced


@contextmanager
def placed_reference(trainer_module: ModuleType) -> Iterator[None]:
    """Inside, the trainer of a TRL module loads its reference model whole, and FSDP2 shards it layer by layer.

    Upstream (trl 1.16) spreads it over all GPUs that a process sees, under FSDP too, where each process has its own.
    And it shards it as a single unit, which is gathered whole in every forward pass; with `cpu_ram_efficient_loading`,
    by which only one process of a node reads the weights, the others' shards stay zero.
    """
    load = partial(trainer_module.create_model_from_path, device_map=None)
    with (
        replaced(trainer_module, "create_model_from_path", load),
        replaced(trainer_module, "prepare_fsdp", shard_reference),
    ):
        yield


def shard_reference(model: Any, accelerator: Any) -> Any:
    """What upstream's `prepare_fsdp` should do, for FSDP2; that of FSDP1 is upstream's."""
    if not accelerator.is_fsdp2:
        return prepare_fsdp(model, accelerator)
    return fsdp2_prepare_model(accelerator, model.requires_grad_(False)).eval()  # trained weights would become float32
