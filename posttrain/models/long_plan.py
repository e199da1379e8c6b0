"""The plan for the longest contexts of EXAONE 4.0, on paper.

    python -m posttrain.models.long_plan    # prints the tables of docs/memory.md

Nothing here was run: memory follows from `memory`, time from `costs` and from a stated share of the devices' peak.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from posttrain.models.activations import Rows
from posttrain.models.build import PRESETS, model_config
from posttrain.models.costs import kv_cache_bytes
from posttrain.models.decoder import DecoderShape, read_decoder
from posttrain.models.flops import forward, forward_and_backward
from posttrain.models.memory import Memory, Training, peak, trained_parameters

PEAK_FLOPS = 989e12  # of an H100 or H200 (SXM) in bfloat16 without sparsity, NVIDIA's data sheets
UTILISATION = 0.4  # assumed, of that peak; model FLOPs, recomputation left out of the numerator
DEVICES = {"H100": 80e9, "H200": 141e9}  # bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """A model, a context and a layout: one sequence of the whole context per device and micro-batch."""

    preset: str
    length: int
    devices: int
    training: Training

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.preset}, {self.length:,}" + (", offloaded" if self.training.activation_offloading else "")

    @property
    def shape(self) -> DecoderShape:
        """The model's sizes."""
        return read_decoder(model_config(PRESETS[self.preset]))

    @property
    def memory(self) -> Memory:
        """The peak on each device."""
        return peak(self.shape, Rows(self.length, trained=self.length), self.training)


def _layout(devices: int, *, offloading: bool) -> Training:
    return Training(
        number=2,
        gradient_checkpointing=True,
        activation_offloading=offloading,
        attention="flash_attention_2",
        sharding="fsdp2",
        processes=devices,
        on_cpu=False,
    )


PLANS = (
    Plan("exaone-4.0-1.2b", 65_536, 8, _layout(8, offloading=False)),
    Plan("exaone-4.0-32b", 131_072, 64, _layout(64, offloading=False)),
    Plan("exaone-4.0-32b", 131_072, 64, _layout(64, offloading=True)),
)


def tables() -> Iterator[str]:
    """Markdown, line by line."""
    memories = [plan.memory for plan in PLANS]
    yield f"| GB per device | {' | '.join(plan.name for plan in PLANS)} |"
    yield "|---|" + "---:|" * len(PLANS)
    for part in [name for name in memories[0].parts if any(memory.parts[name] for memory in memories)]:
        yield f"| {part} | {' | '.join(_gb(memory.parts[part]) for memory in memories)} |"
    yield f"| **peak** | {' | '.join(f'**{_gb(memory.total)}**' for memory in memories)} |"
    yield f"| moment | {' | '.join(memory.moment for memory in memories)} |"
    yield f"| on the host | {' | '.join(_gb(memory.on_host) for memory in memories)} |"
    for device, capacity in DEVICES.items():
        shares = [f"{memory.total / capacity:.0%}" for memory in memories]
        yield f"| of an {device} ({capacity / 1e9:.0f} GB) | {' | '.join(shares)} |"
    yield ""
    yield f"| one step | {' | '.join(plan.name for plan in PLANS[:2])} |"
    yield "|---|" + "---:|" * 2
    yield from _times(PLANS[:2])


def _times(plans: tuple[Plan, ...]) -> Iterator[str]:
    rows: dict[str, list[str]] = {}
    for plan in plans:
        shape = plan.shape
        once = forward(shape, [plan.length], scored=plan.length)
        matrices, attention = once.matrices + once.head, once.attention
        trained = trained_parameters(shape, None)
        total = forward_and_backward(once)
        seconds, tokens = total / (UTILISATION * PEAK_FLOPS), plan.devices * plan.length
        cells = {
            "devices, FSDP2": f"{plan.devices}",
            "trained parameters": f"{trained / 1e9:.2f} G",
            "tokens of a step": f"{tokens:,}",
            "matrices, forward": f"{matrices / 1e15:.2f} PFLOPs",
            "attention, forward": f"{attention / 1e15:.2f} PFLOPs",
            "forward and backward: 3 x their sum": f"{total / 1e15:.2f} PFLOPs",
            f"step at {UTILISATION:.0%} of {PEAK_FLOPS / 1e12:.0f} TFLOPS": f"{seconds:.1f} s",
            "tokens a second, all devices": f"{tokens / seconds:,.0f}",
            "KV cache of one sequence": f"{_gb(kv_cache_bytes(shape, plan.length))} GB",
        }
        for name, cell in cells.items():
            rows.setdefault(name, []).append(cell)
    for name, found in rows.items():
        yield f"| {name} | {' | '.join(found)} |"


def _gb(number: int) -> str:
    return f"{number / 1e9:.2f}"


if __name__ == "__main__":
    from posttrain.terminal import say

    for line in tables():
        say(line)
