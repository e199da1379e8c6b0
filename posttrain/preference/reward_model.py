"""Which of several answers would a reader rather have, to a reward model of `transformers`?

The counterpart of `rewards.preference` without a judge. It lives here because the rewards' package needs no torch; a
recipe names it as `posttrain.preference.reward_model:RewardModel`.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

from posttrain.models.load import from_folder, weight_files
from rewards._contest import takes_part, verdict_without_contest
from rewards.contract import Attempt, Verdict

GRADES_GROUPS = True
SEES = ("prompt", "answer", "is_truncated")


@dataclass(frozen=True)
class RewardModel:
    """The probability that an answer is preferred to another one of its group, by a reward model.

    For a sequence classifier with one number as its output, trained on comparisons (Bradley-Terry): one answer is
    preferred to another with probability sigmoid(difference of their numbers), and an answer's score is the mean of
    that over the others of its group. So it is an expected share of wins, as `rewards.preference:PairwiseJudge` counts
    them, whatever the scale and the offset of the model's numbers.

    The model sees the conversation and the final answer in its own chat template, without thinking. An empty answer and
    one that was cut off scores 0 and is not shown. What is longer than the model reads is not judged: cut, it would be
    another text.

    Attributes:
        path: a model folder or a hub id.
        dtype: float32, bfloat16 or float16.
        device: such as `cuda:1`; None: the GPU where there is one, of several processes each its own.
        batch_size: texts at a time.
        max_length: the longest text in tokens; None: what the model's configuration says.

    Raises:
        ValueError: a setting makes no sense.
    """

    path: str
    dtype: str = "float32"
    device: str | None = None
    batch_size: int = 16
    max_length: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"dtype={self.dtype!r}, need float32, bfloat16 or float16")
        for name in ("batch_size", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}, need at least 1")

    def describe(self) -> Mapping[str, str]:
        """The model and where it runs.

        Raises:
            ValueError: there is no such model, it has no chat template, or not one output.
        """
        _load_tokenizer(self.path)
        _load_config(self.path)
        return {"model": self.path, "device": self._device}

    def __call__(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        """Score the answers to one prompt.

        Raises:
            ValueError: the model's number for an answer is not finite.
        """
        tokenizer, limit = _load_tokenizer(self.path), self._max_length
        verdicts = [verdict_without_contest(attempt, attempts) for attempt in attempts]
        texts = {index: _encode(tokenizer, attempt) for index, attempt in enumerate(attempts) if takes_part(attempt)}
        shown = {index: ids for index, ids in texts.items() if len(ids) <= limit}
        for index in texts.keys() - shown.keys():
            verdicts[index] = Verdict(None, reason=f"{len(texts[index])} tokens, the reward model reads {limit}")
        numbers = dict(zip(shown, self._numbers(list(shown.values())), strict=True))
        for index, number in numbers.items() if len(numbers) > 1 else ():
            others = [other for one, other in numbers.items() if one != index]
            score = fmean(_sigmoid(number - other) for other in others)
            verdicts[index] = Verdict(score, reason=f"reward model: {number:.4g}, the others {fmean(others):.4g}")
        return verdicts

    @property
    def _device(self) -> str:
        import torch

        return self.device or (f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")

    @property
    def _max_length(self) -> int:
        known = getattr(_load_config(self.path), "max_position_embeddings", None)
        return min(self.max_length or known or 2**31, known or 2**31)

    def _numbers(self, texts: Sequence[Sequence[int]]) -> list[float]:
        """The model's number for each text; texts of like length share a batch."""
        if not texts:
            return []
        numbers: dict[int, float] = {}
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        model = _load_model(self.path, self.dtype, self._device)
        for start in range(0, len(texts), self.batch_size):
            batch = by_length[start : start + self.batch_size]
            numbers |= zip(batch, _run(model, [texts[index] for index in batch]), strict=True)
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError(f"the reward model '{self.path}' gave {list(numbers.values())}; need finite numbers")
        return [numbers[index] for index in range(len(texts))]


def _sigmoid(number: float) -> float:
    return 0.5 * (1 + math.tanh(number / 2))  # without the overflow of exp


def _encode(tokenizer: Any, attempt: Attempt) -> list[int]:
    messages = [*attempt.prompt, {"role": "assistant", "content": attempt.answer}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _run(model: Any, texts: Sequence[Sequence[int]]) -> list[float]:
    import torch

    width = max(map(len, texts))
    ids_BT = torch.tensor([[*ids, *[model.config.pad_token_id] * (width - len(ids))] for ids in texts])
    mask_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in texts])
    with torch.inference_mode():
        logits_B1 = model(input_ids=ids_BT.to(model.device), attention_mask=mask_BT.to(model.device)).logits
    return [float(number) for number in logits_B1[:, 0].float().tolist()]


@lru_cache(maxsize=1)
def _load_model(path: str, dtype: str, device: str) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    options = {"dtype": getattr(torch, dtype), **weight_files(allow_pickle=False)}
    model = from_folder(AutoModelForSequenceClassification, path, "reward model", **options).to(device).eval()
    if model.config.pad_token_id is None:  # by which the model finds the end of a text
        tokenizer = _load_tokenizer(path)
        model.config.pad_token_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return model


@lru_cache(maxsize=4)
def _load_tokenizer(path: str) -> Any:
    from transformers import AutoTokenizer

    tokenizer = from_folder(AutoTokenizer, path, "reward model")
    if not tokenizer.chat_template:
        raise ValueError(f"the reward model '{path}' has no chat template; need one that it was trained with")
    return tokenizer


@lru_cache(maxsize=4)
def _load_config(path: str) -> Any:
    from transformers import AutoConfig

    config = from_folder(AutoConfig, path, "reward model")
    if config.num_labels != 1:
        raise ValueError(f"the reward model '{path}' has {config.num_labels} outputs; need a classifier with one")
    return config
