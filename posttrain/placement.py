"""A model on GPUs, where transformers and accelerate by themselves would spoil its training."""

import dataclasses
import warnings
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule


class PlacedTrainer:
    """To be named before one of transformers' trainers as a base class.

    A process trains on one GPU. Upstream takes all that it sees, by `torch.nn.DataParallel` and with as many times the
    batch, where no launcher says otherwise (transformers 5.19).

    FSDP2 casts what a model's forward returns to 16 bit, log-probabilities and all; and while gradients are accumulated
    every process keeps those of all weights (accelerate 1.15). Here what is computed in float32 stays so, and the
    gradients of every micro-batch are shared out at once.

    Overridden upstream hook: `create_accelerator_and_postprocess`.
    """

    args: Any
    accelerator: Any

    def create_accelerator_and_postprocess(self) -> None:
        """Upstream's, which comes before the model is placed."""
        if self.args.n_gpu > 1:
            warnings.warn(
                f"{self.args.n_gpu} GPUs are there, and this process trains on the first of them alone; to use all: "
                f"accelerate launch --config_file recipes/accelerate/ddp.yaml --num_processes {self.args.n_gpu} "
                "-m posttrain ...",
                stacklevel=2,
            )
            self.args._n_gpu = 1
        super().create_accelerator_and_postprocess()  # type: ignore[misc]  # the trainer's
        if self.accelerator.is_fsdp2:
            plugin = self.accelerator.state.fsdp_plugin
            if plugin.mixed_precision_policy is not None:
                plugin.mixed_precision_policy = dataclasses.replace(plugin.mixed_precision_policy, output_dtype=None)
            self.accelerator.gradient_state.plugin_kwargs["sync_each_batch"] = True


def reshard(model: Any) -> None:
    """After a pass without gradients FSDP2 keeps the last weights gathered, and nobody can read them as shards."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def arithmetic_of(trainer: Any) -> torch.dtype:
    """What a trainer computes in; under FSDP2 the weights themselves are float32 even so."""
    if trainer.args.bf16 or trainer.args.fp16:
        return torch.bfloat16 if trainer.args.bf16 else torch.float16
    dtype: torch.dtype = trainer.accelerator.unwrap_model(trainer.model).dtype
    return dtype
