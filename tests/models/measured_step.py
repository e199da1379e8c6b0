"""Train a model of a shape for two steps with the SFT trainer, and print the peak of resident memory it took, in bytes.

    python tests/models/measured_step.py '{"shape": {...}, "documents": [...], ...}'

What was resident before, with every library at work once, is taken off. The allocator gives freed memory back at once
(MALLOC_MMAP_THRESHOLD_ is set by the caller), so that the peak is of what was alive.
"""

import gc
import json
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from posttrain.environment import prepare_environment

prepare_environment()

import torch  # noqa: E402  (after the environment is set)
from peft import LoraConfig  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from trl import SFTConfig  # noqa: E402

from posttrain.data.encode import IGNORED, Encoded  # noqa: E402
from posttrain.models.attention import SEGMENTS  # noqa: E402
from posttrain.models.build import HybridShape, model_config  # noqa: E402
from posttrain.models.tokenizer import train_tokenizer  # noqa: E402
from posttrain.sft import UnifiedSFTTrainer  # noqa: E402
from posttrain.sft.samples import Samples  # noqa: E402

STEPS = 2  # the optimizer's states are there in the second


def make_trainer(
    shape: HybridShape, documents: list[int], *, dtype: str, rank: int, accumulation: int, checkpointing: bool
) -> Any:
    """A step is `accumulation` packs, each of random documents of these lengths."""
    rng = random.Random(0)
    rows = []
    for length in documents * STEPS * accumulation:
        ids = rng.choices(range(shape.vocab_size or 1), k=length)
        rows.append(Encoded(ids, [IGNORED, *ids[1:]], mode_id=0))
    bounds = range(0, len(rows) + 1, len(documents))
    tokenizer = train_tokenizer(["a few words"], vocab_size=300, chat_template="{{ messages }}")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        model_config(shape), attn_implementation=SEGMENTS, dtype=getattr(torch, dtype)
    )
    arguments = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=accumulation,
        gradient_checkpointing=checkpointing,
        train_sampling_strategy="sequential",
        num_train_epochs=1,
        use_cpu=True,
        bf16=dtype == "bfloat16",
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
    )
    return UnifiedSFTTrainer(
        model=model,
        samples=Samples(rows, bounds, frozenset({None}), sum(documents)),
        args=arguments,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=rank, task_type="CAUSAL_LM", target_modules="all-linear") if rank else None,
    )


def resident(name: str) -> int:
    """Bytes, as the kernel counts them: `VmRSS` now, `VmHWM` at the most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main(asked: dict[str, Any]) -> None:
    """Warm up with a small model, then measure."""
    torch.set_num_threads(1)
    shape, documents = HybridShape(**asked.pop("shape")), asked.pop("documents")
    small = replace(shape, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=32)
    make_trainer(replace(small, vocab_size=300), [64], **asked).train()
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    make_trainer(shape, documents, **asked).train()
    sys.stdout.write(f"\n{resident('VmHWM') - before}\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
