"""vLLM in this process."""

import gc
import math
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from typing import Any, NamedTuple

from posttrain.environment import prepare_environment
from posttrain.errors import UserError
from posttrain.inference.draft import Draft, open_budget
from posttrain.inference.engine import Completion, check_lengths, end_token_ids, sample_seed
from posttrain.inference.engine_death import death_is_told
from posttrain.models.load import read_config
from posttrain.recipe import Decoding, EngineSection, ModelSection


def prompt_log_probs(llm: Any, prompts_ids: Sequence[Sequence[int]]) -> list[list[float]]:
    """Natural-log probabilities, by a vLLM, of every token of each prompt but its first."""
    from vllm import SamplingParams

    llm.reset_prefix_cache()  # what is cached is not scored
    params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
    prompts = [{"prompt_token_ids": list(prompt)} for prompt in prompts_ids]
    outputs = llm.generate(prompts, params, use_tqdm=False)
    return [
        [scores[token].logprob for token, scores in zip(prompt[1:], output.prompt_logprobs[1:], strict=True)]
        for prompt, output in zip(prompts_ids, outputs, strict=True)
    ]


class _Sample(NamedTuple):
    """One completion to be sampled, and what its random numbers are made from."""

    prompt_ids: list[int]
    key: tuple[int, ...]
    draft: Draft


class VLLMEngine:
    """Samples from a `vllm.LLM`, which takes and gives token ids alone.

    The thinking budget is not vLLM's own (`SamplingParams.thinking_token_budget`, measured with 0.32). That one counts
    the newline which the template puts behind the opening tag: budgets of 10 and 30 gave 9 and 29 tokens of thinking,
    and 0 the same as 1. And, by its source, it knows the model's own closing only by the exact tokens of the text that
    it would force: a model which joins a full stop to the newline before the tag would have to close a second time, in
    its answer. Here a request whose thinking is too long is dropped when the token comes, and goes on as a new one that
    has the closing tag in its prompt: the rest of the batch runs on, and the prefix cache spares reading it again.

    Args:
        llm: made by `open_vllm_engine`.
        tokenizer: of the model.
        end_ids: the tokens that end a completion.
    """

    def __init__(self, llm: Any, tokenizer: Any, end_ids: Iterable[int]) -> None:
        self._llm = llm
        self._tokenizer = tokenizer
        self._request_ids = map(str, count())
        self.end_ids = frozenset(end_ids)
        self.max_model_len = int(llm.model_config.max_model_len)

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], decoding: Decoding, *, seed: int, first_index: int = 0
    ) -> list[list[Completion]]:
        """See `Engine.generate`. vLLM batches as it sees fit; a prompt that is repeated is read once."""
        check_lengths(prompts_ids, decoding, self.max_model_len)
        budget = open_budget(self._tokenizer, decoding)
        samples = [
            _Sample(list(prompt), (seed, index, number), Draft(prompt, decoding, budget, self.end_ids))
            for index, prompt in enumerate(prompts_ids, start=first_index)
            for number in range(decoding.samples)
        ]
        for _ in self._steps(samples, decoding, is_watched=False):
            pass
        completions = [sample.draft.completion() for sample in samples]
        starts = range(0, len(completions), decoding.samples)
        return [completions[start : start + decoding.samples] for start in starts]

    def stream(self, prompt_ids: Sequence[int], decoding: Decoding, *, seed: int) -> Iterator[int]:
        """See `Engine.stream`."""
        check_lengths([prompt_ids], decoding, self.max_model_len)
        draft = Draft(prompt_ids, decoding, open_budget(self._tokenizer, decoding), self.end_ids)
        sample = _Sample(list(prompt_ids), (seed, 0, 0), draft)
        num_shown = 0
        with closing(self._steps([sample], decoding, is_watched=True)) as steps:
            for _ in steps:
                yield from draft.token_ids[num_shown:]
                num_shown = len(draft.token_ids)

    def prompt_log_probs(self, prompts_ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural-log probabilities of every token of each prompt but its first."""
        return prompt_log_probs(self._llm, prompts_ids)

    def close(self) -> None:
        """Shut vLLM down, so that another engine can be opened in this process."""
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()

    def _steps(self, samples: Sequence[_Sample], decoding: Decoding, *, is_watched: bool) -> Generator[None]:
        """Fill the drafts and stop by after each step; with neither a budget nor a watcher vLLM tells the end alone."""
        engine = self._llm.llm_engine
        with death_is_told(engine.engine_core):
            self._llm.reset_prefix_cache()  # what was asked before would change the rounding
            each_token = is_watched or decoding.thinking_budget is not None
            running = {self._request(sample, decoding, each_token): sample for sample in samples}
            try:
                while engine.has_unfinished_requests():
                    for output in engine.step():
                        sample = running[output.request_id]
                        if output.finished:
                            del running[output.request_id]
                        if _take(sample.draft, output.outputs[0].token_ids):
                            continue
                        if not output.finished:
                            engine.abort_request([output.request_id])
                            del running[output.request_id]
                        if not sample.draft.is_finished:
                            running[self._request(sample, decoding, each_token)] = sample
                    yield
            finally:
                engine.abort_request(list(running))

    def _request(self, sample: _Sample, decoding: Decoding, each_token: bool) -> str:
        """Ask vLLM to continue the sample from where it is."""
        request_id, done = next(self._request_ids), sample.draft.token_ids
        # A second request of one sample would else draw the numbers of the first again.
        seed = sample_seed(*sample.key, 1) if done else sample_seed(*sample.key)
        params = self._sampling_params(decoding, decoding.max_new_tokens - len(done), seed, each_token)
        self._llm.llm_engine.add_request(request_id, {"prompt_token_ids": sample.prompt_ids + done}, params)
        return request_id

    def _sampling_params(self, decoding: Decoding, max_tokens: int, seed: int, each_token: bool) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k,
            max_tokens=max_tokens,
            stop_token_ids=list(self.end_ids),
            ignore_eos=True,  # the tokenizer's own: all that ends a completion is in `stop_token_ids`
            seed=seed,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA if each_token else RequestOutputKind.FINAL_ONLY,
        )


def _take(draft: Draft, token_ids: Iterable[int]) -> bool:
    """Add what vLLM sampled; False if the thinking was closed there, so that what vLLM would say next is void."""
    was_closed_at = draft.closed_at
    for token in token_ids:
        draft.add(token)
        if draft.closed_at != was_closed_at:
            draft.add_forced()
            return False
    return True


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
                tensor_parallel_size=section.tensor_parallel,
                dtype=model.dtype,  # left alone, vLLM runs a float32 model in bfloat16
                load_format="auto" if model.allow_pickle else "safetensors",
                disable_log_stats=True,
                use_tqdm_on_load=False,
                **{key: value for key, value in options.items() if value is not None},
            )
    except (ValueError, OSError) as error:
        raise UserError(f"vLLM refuses '{model.path}' with these settings: {error}") from error
    except RuntimeError as error:
        if "any model weights" not in str(error):
            raise
        problem = f"vLLM finds no weights in '{model.path}'"
        raise UserError(f"{problem}; they have to be safetensors, model.allow_pickle: true reads others") from error
    return VLLMEngine(llm, tokenizer, end_token_ids(_generation_config(model.path), tokenizer))


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
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(model_path)
    except OSError:
        return GenerationConfig.from_model_config(read_config(ModelSection(path=model_path)))


@contextmanager
def _without_variable(name: str) -> Iterator[None]:
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value
