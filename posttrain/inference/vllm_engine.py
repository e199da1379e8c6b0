"""vLLM in this process."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from posttrain.environment import prepare_environment
from posttrain.errors import UserError
from posttrain.inference.engine import Completion, check_lengths, end_token_ids, sample_seed
from posttrain.recipe import Decoding, EngineSection, ModelSection


class VLLMEngine:
    """Samples from a `vllm.LLM`, which takes and gives token ids alone.

    Args:
        llm: made by `open_vllm_engine`.
        end_ids: the tokens that end a completion.
    """

    def __init__(self, llm: Any, end_ids: Sequence[int]) -> None:
        self._llm = llm
        self._end_ids = list(end_ids)

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], decoding: Decoding, *, seed: int
    ) -> list[list[Completion]]:
        """See `Engine.generate`. vLLM batches as it sees fit; a prompt that is repeated is read once."""
        from vllm import SamplingParams

        check_lengths(prompts_ids, decoding, self._llm.model_config.max_model_len)
        samples = range(decoding.samples)
        prompts = [{"prompt_token_ids": list(prompt)} for prompt in prompts_ids for _ in samples]
        params = [
            SamplingParams(
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                top_k=decoding.top_k,
                max_tokens=decoding.max_new_tokens,
                stop_token_ids=self._end_ids,
                seed=sample_seed(seed, prompt_index, sample_index),
                detokenize=False,
            )
            for prompt_index in range(len(prompts_ids))
            for sample_index in samples
        ]
        outputs = self._llm.generate(prompts, params, use_tqdm=False) if prompts else []
        completions = [
            Completion(list(output.outputs[0].token_ids), output.outputs[0].finish_reason == "length")
            for output in outputs
        ]
        return [completions[start : start + decoding.samples] for start in range(0, len(outputs), decoding.samples)]

    def close(self) -> None:
        """Shut the engine down, so that another one can be opened in this process."""
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None


def open_vllm_engine(section: EngineSection, model: ModelSection, tokenizer: Any) -> VLLMEngine:
    """Start vLLM with the recipe's dtype and cache size.

    `section.memory_gb` holds on a CPU; on a GPU vLLM measures what is free and takes its usual share of it.

    Raises:
        UserError: vLLM is not installed, or refuses the model or the settings.
    """
    prepare_environment()
    try:
        from vllm import LLM
        from vllm.platforms import current_platform
    except ImportError as error:
        raise UserError(f"vLLM cannot be imported ({error}); install it or set engine: transformers") from error
    given = {"max_model_len": section.max_model_len, "max_num_seqs": section.max_num_seqs}
    if current_platform.is_cpu():
        given["kv_cache_memory_bytes"] = math.ceil(section.memory_gb * 2**30)
    try:
        with _without("VLLM_CPU_KVCACHE_SPACE"):
            llm = LLM(
                model=model.path,
                dtype=model.dtype,  # vLLM's own choice runs a float32 model in bfloat16
                skip_tokenizer_init=True,
                seed=0,
                disable_log_stats=True,
                **{key: value for key, value in given.items() if value is not None},
            )
    except (ValueError, OSError) as error:
        raise UserError(f"vLLM refuses '{model.path}' with these settings: {error}") from error
    generation_config = _generation_config(model.path)
    return VLLMEngine(llm, end_token_ids(generation_config, tokenizer))
