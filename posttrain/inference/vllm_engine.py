"""vLLM in this process."""

import gc
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
        self, prompts_ids: Sequence[Sequence[int]], decoding: Decoding, *, seed: int, first_index: int = 0
    ) -> list[list[Completion]]:
        """See `Engine.generate`. vLLM batches as it sees fit; a prompt that is repeated is read once."""
        check_lengths(prompts_ids, decoding, self._llm.model_config.max_model_len)
        self._llm.reset_prefix_cache()  # what was asked before would change the rounding
        samples = range(decoding.samples)
        prompts = [{"prompt_token_ids": list(prompt)} for prompt in prompts_ids for _ in samples]
        params = [
            self._sampling_params(decoding, sample_seed(seed, prompt_index, sample_index))
            for prompt_index in range(first_index, first_index + len(prompts_ids))
            for sample_index in samples
        ]
        outputs = [request.outputs[0] for request in self._llm.generate(prompts, params, use_tqdm=False)]
        completions = [Completion(list(output.token_ids), output.finish_reason == "length") for output in outputs]
        return [completions[start : start + len(samples)] for start in range(0, len(completions), len(samples))]

    def prompt_log_probs(self, prompts_ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural-log probabilities of every token of each prompt but its first."""
        from vllm import SamplingParams

        self._llm.reset_prefix_cache()  # what is cached is not scored
        params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        prompts = [{"prompt_token_ids": list(prompt)} for prompt in prompts_ids]
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        return [
            [scores[token].logprob for token, scores in zip(prompt[1:], output.prompt_logprobs[1:], strict=True)]
            for prompt, output in zip(prompts_ids, outputs, strict=True)
        ]

    def close(self) -> None:
        """Shut vLLM down, so that another engine can be opened in this process."""
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()

    def _sampling_params(self, decoding: Decoding, seed: int) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k,
            max_tokens=decoding.max_new_tokens,
            stop_token_ids=self._end_ids,
            ignore_eos=True,  # the tokenizer's own: all that ends a completion is in `stop_token_ids`
            seed=seed,
            detokenize=False,
        )


def open_vllm_engine(section: EngineSection, model: ModelSection, tokenizer: Any, **more_options: Any) -> VLLMEngine:
    """Start vLLM with the recipe's dtype and, on a CPU, its cache size; on a GPU vLLM takes its usual share of memory.

    `model.attn_implementation` names kernels of transformers and means nothing here. `more_options` go to `vllm.LLM`.

    Raises:
        UserError: vLLM is not installed, or refuses the model or the settings.
    """
    prepare_environment()
    try:
        from vllm import LLM
        from vllm.platforms import current_platform
    except ImportError as error:
        raise UserError(f"vLLM cannot be imported ({error}); install it, or set engine: transformers") from error
    options = {"max_model_len": section.max_model_len, "max_num_seqs": section.max_num_seqs} | more_options
    if current_platform.is_cpu():
        options |= _cpu_options(section)
    try:
        with _without_variable("VLLM_CPU_KVCACHE_SPACE"):  # whole GB only, and it would win over the recipe
            llm = LLM(
                model=model.path,
                dtype=model.dtype,  # left alone, vLLM runs a float32 model in bfloat16
                disable_log_stats=True,
                use_tqdm_on_load=False,
                **{key: value for key, value in options.items() if value is not None},
            )
    except (ValueError, OSError) as error:
        raise UserError(f"vLLM refuses '{model.path}' with these settings: {error}") from error
    return VLLMEngine(llm, end_token_ids(_generation_config(model.path), tokenizer))


def _cpu_options(section: EngineSection) -> dict[str, Any]:
    return {
        "kv_cache_memory_bytes": math.ceil(section.memory_gb * 2**30),
        # Compiling takes 9 s at every start and makes small models no faster.
        "enforce_eager": True,
        # A prompt read in two pieces crashes vLLM's sampler on a CPU when requests have seeds of their own.
        "enable_chunked_prefill": False,
    }


def _generation_config(model_path: str) -> Any:
    """The folder's generation settings; as in transformers, those in the model's configuration where it has none."""
    from transformers import AutoConfig, GenerationConfig

    try:
        return GenerationConfig.from_pretrained(model_path)
    except OSError:
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(model_path))


@contextmanager
def _without_variable(name: str) -> Iterator[None]:
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value
