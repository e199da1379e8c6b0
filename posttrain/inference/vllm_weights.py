"""What a vLLM engine needs that samples from a policy in training: options on a CPU, and new weights on any device."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor


def cpu_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What to change in the options of `vllm.LLM` on a CPU; nothing on a GPU."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return {}
    return {
        "enforce_eager": True,  # compiling costs ten seconds there and gains nothing
        # A prompt read in two pieces crashes vLLM's sampler on a CPU when requests have seeds of their own.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(options["max_num_batched_tokens"], options["max_model_len"] or 0),
    }


def load_weights(llm: Any, named_weights: Iterable[tuple[str, Tensor]]) -> None:
    """Load weights into an engine of this process and forget everything cached under the old ones."""
    from vllm.platforms import current_platform

    runner = llm.llm_engine.model_executor.driver_worker.model_runner
    if current_platform.is_cpu():
        runner.reload_weights(weights_iterator=iter(named_weights))
        _repack_vocabulary(runner.model)
    else:
        runner.model.load_weights(named_weights)
    llm.reset_prefix_cache()


def _repack_vocabulary(model: Any) -> None:
    """Rebuild what vLLM's CPU kernels derived from the embedding and the head, which a reload leaves as it was."""
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding  # ParallelLMHead is one too

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding):
            module.quant_method.process_weights_after_loading(module)
