"""What only a GPU can tell: how fast SFT is, how the AGAPO update compares, whether the plan's memory is right.

    make bench-gpu                                     # one GPU of 80 GB
    make bench-gpu ARGS="--device cpu --tiny"          # the script itself, anywhere; its figures mean nothing

A model of EXAONE 4.0 1.2B's architecture with random weights, in bfloat16, and random tokens. SFT runs through
`UnifiedSFTTrainer` with AdamW, one row a step; its share is of the matrix peak that this device reaches here, counting
the arithmetic that the model needs (forward and twice that backward). Memory is what the allocator held at the most.
The update is that of `make bench-rl`, with longer responses. Of several GPUs the first is used.
"""

import argparse
import gc
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from posttrain.environment import prepare_environment

prepare_environment()
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")

import memory  # noqa: E402  (after the environment is set)
import torch  # noqa: E402
import update  # noqa: E402
from transformers import AutoTokenizer, TrainerCallback  # noqa: E402
from transformers.trainer_callback import PrinterCallback  # noqa: E402
from transformers.utils.logging import disable_progress_bar  # noqa: E402
from trl import SFTConfig  # noqa: E402

from posttrain.data.encode import IGNORED, Encoded  # noqa: E402
from posttrain.footprint import describe, size  # noqa: E402
from posttrain.models.activations import Rows  # noqa: E402
from posttrain.models.build import PRESETS, build_model  # noqa: E402
from posttrain.models.decoder import read_decoder  # noqa: E402
from posttrain.models.flops import forward, forward_and_backward  # noqa: E402
from posttrain.models.load import load_model  # noqa: E402
from posttrain.models.memory import Training, peak  # noqa: E402
from posttrain.models.tokenizer import train_tokenizer  # noqa: E402
from posttrain.recipe import ModelSection  # noqa: E402
from posttrain.sft import UnifiedSFTTrainer  # noqa: E402
from posttrain.sft.samples import Samples  # noqa: E402
from posttrain.terminal import say  # noqa: E402

WARM_UP, STEPS = 4, 12


class Clock(TrainerCallback):
    """Seconds of each step behind the first ones, at whose end memory's peak begins anew."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.seconds: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == WARM_UP:
            forget_peak(self._device)
        update.synchronize(self._device)
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        update.synchronize(self._device)
        if state.global_step > WARM_UP:
            self.seconds.append(time.perf_counter() - self._began)


def forget_peak(device: str) -> None:
    torch.cuda.reset_peak_memory_stats() if device == "cuda" else memory.forget_peak()


def peak_bytes(device: str) -> int:
    """On a CPU of the whole process, libraries and all."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else int(memory.peak() * 2**20)


def matrix_peak(device: str, *, side: int) -> float:
    """FLOPs a second of the fastest of some products of square bfloat16 matrices."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(30):
        update.synchronize(device)
        began = time.perf_counter()
        left @ right
        update.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def make_sft(folder: Path, device: str, length: int) -> UnifiedSFTTrainer:
    """One row of random tokens a step; all of them but the first bear loss."""
    section = ModelSection(path=str(folder), dtype="bfloat16")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, rng = load_model(section, tokenizer), random.Random(0)
    rows = []
    for _ in range(WARM_UP + STEPS):
        ids = [rng.randrange(10, model.config.vocab_size) for _ in range(length)]
        rows.append(Encoded(ids, [IGNORED, *ids[1:]], mode_id=0))
    return UnifiedSFTTrainer(
        model=model,
        samples=Samples(rows, range(len(rows) + 1), frozenset({None})),
        processing_class=tokenizer,
        args=SFTConfig(
            output_dir=str(folder / "sft"),
            per_device_train_batch_size=1,
            max_steps=len(rows),
            learning_rate=1e-5,
            bf16=True,
            use_cpu=device == "cpu",
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
    )


def measure_sft(folder: Path, device: str, length: int, best: float) -> None:
    """Tokens a second, their share of the peak, and memory beside the plan's."""
    trainer, clock = make_sft(folder, device, length), Clock(device)
    shape, attention = read_decoder(trainer.model.config), trainer.model.config._attn_implementation
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)
    trainer.train()
    seconds = statistics.median(clock.seconds)
    needed = forward_and_backward(forward(shape, [length], length - 1))
    say(
        f"[bold]SFT[/bold], rows of {length:,} tokens, {attention}: {length / seconds:,.0f} tokens a second, "
        f"{needed / seconds / 1e12:.3g} TFLOP/s, [bold]{needed / seconds / best:.1%}[/bold] of the measured peak"
    )
    training = Training(number=2, attention=attention, on_cpu=device == "cpu")
    planned, measured = peak(shape, Rows(length, trained=length - 1), training), peak_bytes(device)
    say(f"[bold]memory[/bold]: measured {size(measured)}, planned {planned.total / measured:.2f} of that")
    say(f"  plan: {describe(planned, training)}")


def main() -> None:
    """Three measurements, a few lines each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and short rows")
    parser.add_argument("--length", type=int, default=8192, help="tokens of a row of SFT")
    parser.add_argument("--tokens", type=int, default=1024, help="of the longest response in the update")
    parser.add_argument("--rounds", type=int, default=5, help="of the update")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("this benchmark needs a GPU that torch can use; --device cpu --tiny tries the script without one")
    length, tokens = (64, 24) if args.tiny else (args.length, args.tokens)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    versions = ", ".join(f"{each} {version(each)}" for each in ("torch", "transformers", "trl"))
    best = matrix_peak(args.device, side=128 if args.tiny else 8192)
    say(f"{name}; {versions}; products of bfloat16 matrices: {best / 1e12:.3g} TFLOP/s")
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tokenizer = train_tokenizer(["a few words for a tokenizer"], vocab_size=300, chat_template="{{ messages }}")
        shape = replace(PRESETS["tiny"], vocab_size=update.VOCABULARY) if args.tiny else PRESETS["exaone-4.0-1.2b"]
        build_model(shape, tokenizer, seed=0).to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        measure_sft(folder, args.device, length, best)
        for letter in "ab":
            workload = replace(update.WORKLOADS[letter], max_tokens=tokens, target=None)
            gc.collect()  # the trainers before it
            update.compare(letter, workload, folder, args.rounds, device=args.device, dtype="bfloat16")


if __name__ == "__main__":
    main()
