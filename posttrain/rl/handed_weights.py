"""Which weights TRL's vLLM backend hands to an engine."""

from collections.abc import Iterable, Iterator
from typing import Any

from peft import PeftModel
from torch import Tensor
from trl.generation.vllm_generation import VLLMGeneration

from posttrain.models.adapters import merged_weights


class HandedWeights(VLLMGeneration):
    """Leaves the model as it was: adapters are not rounded, and what ZeRO-3 keeps whole is not released.

    Upstream gathers whole weights, too, which releases them. The fused head reads the head's weight past the hooks of
    ZeRO-3, and a backward pass may fail that finds it released (deepspeed 0.19, trl 1.16). Of weights sharded by FSDP
    upstream takes care.

    Overridden upstream hook: `_iter_named_params`.
    """

    def _iter_named_params(self) -> Iterator[tuple[str, Any]]:
        """Names and whole weights, as the engine knows them. Collective: every process must iterate to the end."""
        if self._dist.is_fsdp:
            yield from super()._iter_named_params()
        elif isinstance(self.model, PeftModel):
            with self._gathered(self.model.parameters()):
                yield from merged_weights(self.model)
        else:
            for name, parameter in self.model.named_parameters():
                with self._gathered([parameter]):
                    yield name, parameter.data

    def _gathered(self, parameters: Iterable[Tensor]) -> Any:
        return self._dist.gather_params([parameter for parameter in parameters if not parameter.numel()])
