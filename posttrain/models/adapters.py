"""Weights with their adapters merged into them, from a model that keeps both apart."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def merged_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """A peft model's weights one at a time, the active adapters merged, by the names that they have without adapters.

    The model stays as it is, bit for bit. peft's own way, `merge_adapter` and later `unmerge_adapter`, rounds the
    frozen weights: after 200 updates a third of them were others (peft 0.21; in bfloat16 by 9e-4 of their size), and a
    run that is resumed begins again with those of the model's folder.
    """
    base = model.get_base_model()
    for name, parameter in base.named_parameters():
        if model.prefix in name or "original_module" in name:  # an adapter's own; what a module to save stands for
            continue
        owner, is_under_adapter, rest = name.partition(".base_layer.")
        if is_under_adapter:
            yield f"{owner}.{rest}", _merged(base.get_submodule(owner), parameter)
        else:
            yield name.replace("modules_to_save.default.", ""), parameter.detach()


def _merged(layer: Any, parameter: Tensor) -> Tensor:
    kept = [(each, each.clone()) for each in layer.get_base_layer().parameters()]
    layer.merge()
    merged = parameter.clone()
    layer.unmerge()
    for each, value in kept:
        each.copy_(value)
    return merged
