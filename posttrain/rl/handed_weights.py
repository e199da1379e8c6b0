"""Which weights TRL's vLLM backend hands to an engine."""

from collections.abc import Iterator
from typing import Any

from peft import PeftModel
from trl.generation.vllm_generation import VLLMGeneration

from posttrain.models.adapters import merged_weights


class HandedWeights(VLLMGeneration):
    """Leaves a model with adapters as it was; of those sharded by FSDP upstream takes care.

    Overridden upstream hook: `_iter_named_params`.
    """

    def _iter_named_params(self) -> Iterator[tuple[str, Any]]:
        """Names and whole weights, as the engine knows them. Collective: every process must iterate to the end."""
        if self._dist.is_fsdp or not isinstance(self.model, PeftModel):
            yield from super()._iter_named_params()
            return
        with self._dist.gather_params(list(self.model.parameters())):
            yield from merged_weights(self.model)
