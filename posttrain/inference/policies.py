"""Engines for a policy in training: their weights change, and every sampled token comes with its log-probability."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from posttrain.errors import UserError
from posttrain.inference.engine import sample_seed
from posttrain.inference.transformers_engine import TransformersEngine
from posttrain.models.load import load_model
from posttrain.recipe import Decoding, ModelSection


class PolicySpec(NamedTuple):
    """How to open an engine.

    Attributes:
        engine: which one.
        model: the folder whose architecture it runs.
        tokenizer: of the model.
        sampling: vLLM's `SamplingParams` by name; `max_tokens` and `temperature` at least.
        vllm: further options of `vllm.LLM`.
    """

    engine: Literal["vllm", "transformers"]
    model: ModelSection
    tokenizer: Any
    sampling: Mapping[str, Any]
    vllm: Mapping[str, Any]


class SampledTokens(NamedTuple):
    """A completion, the end-of-turn token included, and each token's log-probability (nats, NaN: not known)."""

    token_ids: list[int]
    logps: list[float]


class Policy(Protocol):
    """An engine that samples from the weights that it was given last."""

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take new weights, by the names of the parameters, and forget all that is cached of the old ones."""
        ...

    def sample(self, prompts_ids: Sequence[Sequence[int]], samples: int, seed: tuple[int, ...]) -> list[SampledTokens]:
        """So many completions of each prompt, prompt by prompt; they follow from weights, prompts and seed."""
        ...

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probabilities at temperature 1 of all tokens of each sequence but the first."""
        ...


def open_policy(spec: PolicySpec) -> Policy:
    """Start the engine.

    Raises:
        UserError: the engine or the model cannot be loaded, or not with these settings.
    """
    return _VLLMPolicy(spec) if spec.engine == "vllm" else _TransformersPolicy(spec)


class _VLLMPolicy:
    """Seeds its requests as the colocated engine does."""

    def __init__(self, spec: PolicySpec) -> None:
        from vllm import LLM, SamplingParams

        from posttrain.inference.vllm_weights import cpu_options

        options = {**spec.vllm, "dtype": spec.model.dtype, "disable_log_stats": True, "use_tqdm_on_load": False}
        self._llm = LLM(model=spec.model.path, **(options | cpu_options(options)))
        self._params = SamplingParams(**spec.sampling, logprobs=0, detokenize=False)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        from posttrain.inference.vllm_weights import load_weights

        load_weights(self._llm, weights.items())

    def sample(self, prompts_ids: Sequence[Sequence[int]], samples: int, seed: tuple[int, ...]) -> list[SampledTokens]:
        prompts = [{"prompt_token_ids": list(ids)} for ids in prompts_ids for _ in range(samples)]
        self._llm.reset_prefix_cache()  # what was asked before would change the rounding
        params = [self._params.clone() for _ in prompts]
        for index, request in enumerate(params):
            request.seed = sample_seed(*seed, index)
        outputs = (output.outputs[0] for output in self._llm.generate(prompts, params, use_tqdm=False))
        return [
            SampledTokens(
                list(output.token_ids),
                [scores[token].logprob for token, scores in zip(output.token_ids, output.logprobs, strict=True)],
            )
            for output in outputs
        ]

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        from posttrain.inference.vllm_engine import prompt_log_probs

        return prompt_log_probs(self._llm, sequences)


class _TransformersPolicy:
    """For tests, and where there is no vLLM: slow, and without the samplers that only vLLM has."""

    def __init__(self, spec: PolicySpec) -> None:
        neutral = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        others = {name for name, value in spec.sampling.items() if value != neutral.get(name, value)}
        unknown = spec.sampling.keys() - neutral.keys() - {"temperature", "max_tokens"}
        if others | unknown:
            raise UserError(
                f"the transformers engine gives no log-probabilities under {', '.join(sorted(others | unknown))}; "
                "take engine: vllm, or leave it out"
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = load_model(spec.model, spec.tokenizer).to(device)
        self._engine = TransformersEngine(self._model, spec.tokenizer)
        self._temperature = float(spec.sampling["temperature"])
        self._max_tokens = int(spec.sampling["max_tokens"])

    def load(self, weights: Mapping[str, Tensor]) -> None:
        missing, unknown = self._model.load_state_dict(weights, strict=False)
        parameters = dict(self._model.named_parameters())  # a tied weight is in there once
        if unknown or parameters.keys() & set(missing):
            raise RuntimeError(f"weights do not fit the model: missing {missing}, unknown {unknown}")

    def sample(self, prompts_ids: Sequence[Sequence[int]], samples: int, seed: tuple[int, ...]) -> list[SampledTokens]:
        decoding = Decoding(temperature=self._temperature, max_new_tokens=self._max_tokens, samples=samples)
        completions = self._engine.generate(prompts_ids, decoding, seed=sample_seed(*seed))
        return [
            SampledTokens(completion.token_ids, self._logps(prompt, completion.token_ids))
            for prompt, group in zip(prompts_ids, completions, strict=True)
            for completion in group
        ]

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        return [score_tokens(self._model, ids[:1], ids[1:]) for ids in sequences]

    def _logps(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        return score_tokens(self._model, prompt_ids, token_ids, temperature=self._temperature)


@torch.no_grad()
def score_tokens(
    model: Any, prompt_ids: Sequence[int], token_ids: Sequence[int], *, temperature: float = 1.0
) -> list[float]:
    """Log-probabilities that a causal language model of transformers gives the tokens which follow a prompt."""
    ids = torch.tensor([[*prompt_ids, *token_ids]], device=model.device)
    output = model(input_ids=ids, use_cache=False, logits_to_keep=len(token_ids) + 1)
    logps_TV = (output.logits[0, :-1].float() / temperature).log_softmax(dim=-1)
    scores: list[float] = logps_TV.gather(1, ids[0, len(prompt_ids) :, None])[:, 0].tolist()
    return scores
