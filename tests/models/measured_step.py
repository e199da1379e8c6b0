"""Train a model of a shape for two steps with one of our trainers, and print the peak of resident memory, in bytes.

    python -m tests.models.measured_step '{"shape": {...}, "work": [[...]], "how": {...}}'

What was resident before, with every library at work once, is taken off. The allocator gives freed memory back at once
(MALLOC_MMAP_THRESHOLD_ is set by the caller), so that the peak is of what was alive.
"""

import gc
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from posttrain.models.build import HybridShape
from tests.models.trainers import How, make_trainer


def resident(name: str) -> int:
    """Bytes, as the kernel counts them: `VmRSS` now, `VmHWM` at the most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main(asked: dict[str, Any]) -> None:
    """Warm up with a small model and few tokens, then measure."""
    torch.set_num_threads(1)
    shape, how = HybridShape(**asked["shape"]), How(**asked["how"])
    small = replace(shape, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=32)
    few = [[16] * len(lengths) for lengths in asked["work"]]
    make_trainer(replace(small, vocab_size=400), few, how).train()
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    make_trainer(shape, asked["work"], how).train()
    sys.stdout.write(f"\n{resident('VmHWM') - before}\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
