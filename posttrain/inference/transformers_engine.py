"""A sampling loop over a transformers model that drops finished rows from the batch.

`model.generate` goes on stepping rows that have ended until the last one has. Legend: B rows, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache

from posttrain.inference.draft import Draft, open_budget
from posttrain.inference.engine import Completion, check_lengths, context_length, end_token_ids, sample_seed
from posttrain.models.load import load_model
from posttrain.recipe import Decoding, EngineSection, ModelSection

MAX_NUM_SEQS = 256


class _Task(NamedTuple):
    """One sample of one prompt, to be generated."""

    prompt_index: int
    sample_index: int


class TransformersEngine:
    """Samples from a causal language model of transformers, on the device it is on.

    Args:
        model: the model; it is put into evaluation mode.
        tokenizer: gives the padding token, the tags, and the end of a turn where the model names none.
        max_num_seqs: rows of one batch; their caches lie in memory together.
        max_model_len: the longest sequence in tokens; None: what the model's configuration says.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, max_num_seqs: int = MAX_NUM_SEQS, max_model_len: int | None = None
    ) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._max_num_seqs = max_num_seqs
        self.end_ids = frozenset(end_token_ids(model.generation_config, tokenizer))
        self.max_model_len = max_model_len or context_length(model.config)

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], decoding: Decoding, *, seed: int, first_index: int = 0
    ) -> list[list[Completion]]:
        """See `Engine.generate`. Prompts of like length share a batch, the longest first."""
        check_lengths(prompts_ids, decoding, self.max_model_len)
        prompts = dict(enumerate(prompts_ids, start=first_index))
        by_length = sorted(prompts, key=lambda index: len(prompts[index]), reverse=True)
        drafts = {
            _Task(index, sample): self._draft(prompts[index], decoding)
            for index in by_length
            for sample in range(decoding.samples)
        }
        tasks = list(drafts)
        for start in range(0, len(tasks), self._max_num_seqs):
            batch = tasks[start : start + self._max_num_seqs]
            for _ in self._steps({task: drafts[task] for task in batch}, prompts, decoding, seed):
                pass
        samples = range(decoding.samples)
        return [[drafts[_Task(index, sample)].completion() for sample in samples] for index in prompts]

    def stream(self, prompt_ids: Sequence[int], decoding: Decoding, *, seed: int) -> Iterator[int]:
        """See `Engine.stream`."""
        check_lengths([prompt_ids], decoding, self.max_model_len)
        draft = self._draft(prompt_ids, decoding)
        for _ in self._steps({_Task(0, 0): draft}, {0: prompt_ids}, decoding, seed):
            yield draft.token_ids[-1]

    def close(self) -> None:
        """Let go of the model."""
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _draft(self, prompt_ids: Sequence[int], decoding: Decoding) -> Draft:
        return Draft(prompt_ids, decoding, open_budget(self._tokenizer, decoding), self.end_ids)

    @torch.inference_mode()
    def _steps(
        self, drafts: Mapping[_Task, Draft], prompts: Mapping[int, Sequence[int]], decoding: Decoding, seed: int
    ) -> Iterator[None]:
        """Fill the drafts, all of them a token at a step, and stop by after each."""
        tasks, rows = list(drafts), list(drafts.values())
        uniform_BT = self._uniform(tasks, decoding, seed)
        logits_BV, mask_BT, cache = self._read_prompts(tasks, prompts)
        running_B = torch.arange(len(tasks), device=logits_BV.device)  # the draft of each row that is left
        for step in range(decoding.max_new_tokens):
            if decoding.temperature == 0:
                next_B = logits_BV.argmax(dim=-1)
            else:
                next_B = draw_tokens(logits_BV, decoding, uniform_BT[running_B, step])
            left = [rows[index] for index in running_B.tolist()]
            next_B = next_B.new_tensor([row.add(token) for row, token in zip(left, next_B.tolist(), strict=True)])
            yield
            kept_B = torch.tensor([not row.is_finished for row in left], device=next_B.device).nonzero().squeeze(1)
            if len(kept_B) == 0:
                return
            if len(kept_B) < len(left):
                running_B, next_B, mask_BT = running_B[kept_B], next_B[kept_B], mask_BT[kept_B]
                cache.batch_select_indices(kept_B)
            mask_BT = torch.nn.functional.pad(mask_BT, (0, 1), value=1)
            logits_BV = self._forward(next_B.unsqueeze(1), mask_BT, cache)

    def _read_prompts(
        self, tasks: Sequence[_Task], prompts: Mapping[int, Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, DynamicCache]:
        """What each task starts from: logits, attention mask, cache. A prompt is read once for all its samples."""
        row_of = {index: row for row, index in enumerate(dict.fromkeys(task.prompt_index for task in tasks))}
        width = max(len(prompts[index]) for index in row_of)
        padding = [width - len(prompts[index]) for index in row_of]
        ids = [
            [self._tokenizer.pad_token_id] * pad + list(prompts[index])
            for pad, index in zip(padding, row_of, strict=True)
        ]
        device = self._model.device
        mask_BT = torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding], device=device)
        cache = DynamicCache(config=self._model.config)
        logits_BV = self._forward(torch.tensor(ids, device=device), mask_BT, cache)
        if len(row_of) == len(tasks):
            return logits_BV, mask_BT, cache
        rows = torch.tensor([row_of[task.prompt_index] for task in tasks], device=device)
        cache.batch_select_indices(rows)
        return logits_BV[rows], mask_BT[rows], cache

    def _forward(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """The logits after the last token; padding on the left does not count as a position."""
        positions_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)
        output = self._model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT[:, -ids_BT.shape[1] :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_BV: torch.Tensor = output.logits[:, -1].float()
        return logits_BV

    def _uniform(self, tasks: Sequence[_Task], decoding: Decoding, seed: int) -> torch.Tensor:
        """One number in [0, 1) per task and token, each task's from a stream of its own; none for greedy decoding."""
        length = decoding.max_new_tokens if decoding.temperature > 0 else 0
        streams = (np.random.default_rng(sample_seed(seed, *task)) for task in tasks)
        uniform_BT = np.stack([stream.random(length, dtype=np.float32) for stream in streams])
        return torch.from_numpy(uniform_BT).to(self._model.device)


def open_transformers_engine(section: EngineSection, model: ModelSection, tokenizer: Any) -> TransformersEngine:
    """Load the model, on the GPU where there is one.

    Raises:
        UserError: as in `load_model`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return TransformersEngine(
        load_model(model, tokenizer).to(device),
        tokenizer,
        max_num_seqs=section.max_num_seqs or MAX_NUM_SEQS,
        max_model_len=section.max_model_len,
    )


def draw_tokens(logits_BV: torch.Tensor, decoding: Decoding, uniform_B: torch.Tensor) -> torch.Tensor:
    """Draw one token per row: temperature, then top-k, then top-p of what is left.

    Each row inverts its cumulative distribution at its own number in [0, 1), so that rows do not share a stream.
    """
    probs_BV = ((logits_BV - logits_BV.amax(dim=-1, keepdim=True)) / decoding.temperature).softmax(dim=-1)
    if decoding.top_k == 0 and decoding.top_p == 1:
        return _invert(probs_BV, uniform_B)
    probs_BV, tokens_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
    if decoding.top_k:
        probs_BV = probs_BV[:, : decoding.top_k]
    cumulative_BV = probs_BV.cumsum(dim=-1)
    before_BV = cumulative_BV - probs_BV
    probs_BV = probs_BV.where(before_BV < decoding.top_p * cumulative_BV[:, -1:], 0.0)
    return tokens_BV.gather(-1, _invert(probs_BV, uniform_B).unsqueeze(-1)).squeeze(-1)


def _invert(weights_BV: torch.Tensor, uniform_B: torch.Tensor) -> torch.Tensor:
    """The first index whose cumulative weight exceeds the share `uniform_B` of the total; never one of weight 0."""
    cumulative_BV = weights_BV.cumsum(dim=-1)
    target_B1 = uniform_B.unsqueeze(-1) * cumulative_BV[:, -1:]
    # Rounding can lift the target to the total: the last index with weight is the first that reaches it.
    last_B1 = (cumulative_BV < cumulative_BV[:, -1:]).sum(dim=-1, keepdim=True)
    return torch.searchsorted(cumulative_BV, target_B1, right=True).minimum(last_B1).squeeze(-1)
