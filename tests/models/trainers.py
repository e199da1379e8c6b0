"""Our three trainers over random tokens of given lengths, in one process on a CPU: for what a step costs."""

import random
import tempfile
from dataclasses import dataclass
from typing import Any

from posttrain.environment import prepare_environment

prepare_environment()

import torch  # noqa: E402  (after the environment is set)
from datasets import Dataset  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from trl import SFTConfig  # noqa: E402

from posttrain.data.encode import IGNORED, Encoded  # noqa: E402
from posttrain.models.attention import SEGMENTS  # noqa: E402
from posttrain.models.build import HybridShape, model_config  # noqa: E402
from posttrain.models.tokenizer import train_tokenizer  # noqa: E402
from posttrain.preference.config import SimPERConfig  # noqa: E402
from posttrain.preference.trainer import SimPERTrainer  # noqa: E402
from posttrain.rl import AGAPOConfig, AGAPOTrainer  # noqa: E402
from posttrain.sft import UnifiedSFTTrainer  # noqa: E402
from posttrain.sft.samples import Samples  # noqa: E402

STEPS = 2  # the optimizer's states are there in the second


@dataclass(frozen=True)
class How:
    """How a model is trained; `batch` counts packs, responses or pairs of a micro-batch."""

    batch: int = 1
    accumulation: int = 1
    checkpointing: bool = False
    rank: int = 0
    beta: float = 0.01
    dtype: str = "float32"
    attention: str = SEGMENTS


def make_trainer(shape: HybridShape, work: list[list[int]], how: How) -> Any:
    """The trainer of `STEPS` steps; each of them does the same.

    Args:
        shape: Of the model.
        work: `[documents]`: SFT on packs of documents of these lengths. `[prompt, completions]` with one prompt: RL
            with responses of these lengths in one group. `[prompt, chosen, rejected]`, in tokens of each pair: SimPER.
        how: The settings.
    """
    return {1: _sft, 2: _rl, 3: _pref}[len(work)](shape, work, how)


def _sft(shape: HybridShape, work: list[list[int]], how: How) -> Any:
    rng, [documents] = random.Random(0), work
    rows = []
    for length in documents * STEPS * how.accumulation:
        ids = _ids(rng, shape, length)
        rows.append(Encoded(ids, [IGNORED, *ids[1:]], mode_id=0))
    return UnifiedSFTTrainer(
        model=_model(shape, how),
        samples=Samples(rows, range(0, len(rows) + 1, len(documents)), frozenset({None}), sum(documents)),
        args=SFTConfig(
            **_arguments(how),
            train_sampling_strategy="sequential",
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
        ),
        **_common(how),
    )


def _rl(shape: HybridShape, work: list[list[int]], how: How) -> Any:
    """Stored responses, none of them right: under `penalize` all are trained."""
    rng, [[prompt], lengths] = random.Random(0), work
    stored = {
        "prompt_ids": [_ids(rng, shape, prompt)] * len(lengths),
        "completion_ids": [_ids(rng, shape, length) for length in lengths],
        "logprobs": None,
    }
    folder = tempfile.mkdtemp()
    _model(shape, how).save_pretrained(folder)  # the reference model is loaded from there
    settings = {"dtype": getattr(torch, how.dtype), "attn_implementation": how.attention}
    return AGAPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, **settings),
        reward_funcs=[lambda completion_ids, **_: [0.0] * len(completion_ids)],
        args=AGAPOConfig(
            **_arguments(how),
            num_generations=len(lengths),
            max_completion_length=max(lengths),
            beta=how.beta,
            use_vllm=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": "stored"}] * STEPS),
        rollout_func=lambda prompts, trainer: stored,
        **_common(how),
    )


def _pref(shape: HybridShape, work: list[list[int]], how: How) -> Any:
    rng = random.Random(0)
    row = {f"{part}_ids": length for part, length in zip(("prompt", "chosen", "rejected"), work, strict=True)}
    pairs = [
        {name: _ids(rng, shape, lengths[index]) for name, lengths in row.items()}
        for _ in range(STEPS * how.accumulation * how.batch // len(work[0]))
        for index in range(len(work[0]))
    ]
    return SimPERTrainer(
        model=_model(shape, how),
        args=SimPERConfig(**_arguments(how)),
        train_dataset=Dataset.from_list(pairs),
        **_common(how),
    )


def _model(shape: HybridShape, how: How) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        model_config(shape), attn_implementation=how.attention, dtype=getattr(torch, how.dtype)
    )


def _arguments(how: How) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": how.batch,
        "gradient_accumulation_steps": how.accumulation,
        "gradient_checkpointing": how.checkpointing,
        "max_steps": STEPS,
        "use_cpu": True,
        "bf16": how.dtype == "bfloat16",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def _common(how: How) -> dict[str, Any]:
    return {
        "processing_class": train_tokenizer(["a few words"], vocab_size=300, chat_template="{{ messages }}"),
        "peft_config": LoraConfig(r=how.rank, task_type="CAUSAL_LM", target_modules="all-linear") if how.rank else None,
    }


def _ids(rng: random.Random, shape: HybridShape, length: int) -> list[int]:
    return rng.choices(range(300, shape.vocab_size or 512), k=length)
