"""What a recipe asks of the devices, in numbers alone: an update, a sampling, or both, so many times."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.footprint import adapters_of
from posttrain.models.activations import Rows
from posttrain.models.attention import SEGMENTS
from posttrain.models.decoder import DecoderShape
from posttrain.models.memory import FLOAT32, Training
from posttrain.plan.data import Counts
from posttrain.plan.devices import Device
from posttrain.plan.options import Options
from posttrain.training import lora_config

PROMPT_TOKENS = 256  # where nothing says how long prompts are
SHARE_OF_LIMIT = 4  # a text takes a quarter of what it may, where nothing says more
NUM_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Update:
    """What one device computes in an optimizer step.

    Attributes:
        training: How the model is trained.
        rows: The largest micro-batch there may be: what memory is planned for.
        sequences: Mean tokens of each sequence of a micro-batch: what time is planned for.
        scored: Of them, those that the head is applied to.
        micro_batches: Of a step.
        reference_passes: Forward passes of a frozen model.
    """

    training: Training
    rows: Rows
    sequences: tuple[int, ...]
    scored: int
    micro_batches: int
    reference_passes: int = 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """What is sampled and graded at a time, and by what.

    Attributes:
        where: `alone`: the stage does nothing else. `colocate`: vLLM in the trainer's processes. `server`: vLLM on
            devices of its own. `trainer`: the trainer's model itself.
        prompts: How many.
        responses: To all of them.
        prompt_tokens: Mean tokens of a prompt.
        response_tokens: Mean tokens of a response.
        longest: The most tokens of a response.
        longest_sequence: The most tokens of a prompt and its response.
        devices: That sample.
        tensor_parallel: Devices of one engine.
        at_once: Sequences that an engine takes at a time, at most.
        memory_share: Of a device, that the engine takes.
        sleeps: Whether it gives that back while the trainer works.
        updates: Optimizer steps that one sampling serves; below 1 where a step takes several.
        graders: Processes that grade.
    """

    where: str
    prompts: int
    responses: int
    prompt_tokens: int
    response_tokens: int
    longest: int
    longest_sequence: int
    devices: int
    tensor_parallel: int = 1
    at_once: int = 256
    memory_share: float = 0.9
    sleeps: bool = False
    updates: float = 1
    graders: int = 1

    @property
    def engines(self) -> int:
        """Copies of the model that sample."""
        return max(1, self.devices // self.tensor_parallel)


@dataclass(frozen=True, slots=True)
class Work:
    """A stage, or one rung of a ladder.

    Attributes:
        name: What it is.
        shape: The model's sizes.
        number: Bytes of one of its numbers.
        devices: In all.
        steps: Optimizer steps; 1 for a stage that only samples.
        per_step: What a step takes, in words.
        tokens: That a step trains on, over all devices.
        update: None: nothing is trained.
        sampling: None: nothing is sampled.
        assumed: What the plan had to assume, in words.
    """

    name: str
    shape: DecoderShape
    number: int
    devices: int
    steps: int
    per_step: str
    tokens: int
    update: Update | None = None
    sampling: Sampling | None = None
    assumed: tuple[str, ...] = ()


@dataclass(slots=True)
class Reading:
    """What a recipe is read with; whatever has to be assumed on the way is noted."""

    file: Path
    shape: DecoderShape
    device: Device
    options: Options
    counts: Counts
    assumed: list[str] = field(default_factory=list)

    def told(self, option: str, counted: int, otherwise: int, why: str) -> int:
        """A number that was given, or counted, or else is assumed, which is noted.

        Args:
            option: Its name in `Options`.
            counted: In the data; 0: it is not known.
            otherwise: What is assumed.
            why: What that comes from, in words.
        """
        given: int | None = getattr(self.options, option)
        if given is not None or counted:
            return given or counted
        note = f"--{option.replace('_', '-')} {otherwise}: {why}"
        if note not in self.assumed:
            self.assumed.append(note)
        return otherwise

    def prompt_tokens(self) -> int:
        """Mean tokens of a prompt."""
        return self.told("prompt_tokens", self.counts.prompt, PROMPT_TOKENS, "a guess")

    def response_tokens(self, limit: int) -> int:
        """Mean tokens of a response that may have `limit`."""
        a_quarter = max(1, limit // SHARE_OF_LIMIT)
        counted = self.counts.response
        return min(limit, self.told("response_tokens", counted, a_quarter, f"a quarter of the limit, {limit:,}"))

    def rows(self) -> int:
        """Rows of the data."""
        return self.told("rows", self.counts.rows, NUM_ROWS, "the data are not here")

    def training(self, recipe: Any, arguments: Any, *, processes: int, reference: bool = False) -> Training:
        """How a recipe trains, on the devices of the plan."""
        lora, on_cpu = lora_config(recipe.lora) if getattr(recipe, "lora", None) else None, self.device.is_cpu
        number = bytes_of(recipe.model.dtype)
        sharding = self.options.sharding or ("none" if processes == 1 else "ddp")
        return Training(
            number=number,
            adapters=adapters_of(lora, _model_type(self.shape)) if lora else None,
            gradient_checkpointing=bool(arguments.gradient_checkpointing),
            activation_offloading=bool(recipe.trainer.get("activation_offloading", False)),
            attention=recipe.model.attn_implementation or (SEGMENTS if on_cpu else "sdpa"),
            accumulation=arguments.gradient_accumulation_steps,
            sharding=sharding,
            processes=processes,
            on_cpu=on_cpu,
            reference=reference and lora is None,
        )


def arguments_of(read: Callable[..., Any], recipe: Any) -> Any:
    """A trainer's arguments, on a machine that need not be the one that is planned for."""
    from dataclasses import replace

    elsewhere = {key: value for key, value in recipe.trainer.items() if key != "activation_offloading"}
    return read(replace(recipe, trainer=elsewhere))


def bytes_of(dtype: str) -> int:
    """Bytes of a number."""
    return FLOAT32 if dtype == "float32" else 2


def num_steps(arguments: Any, samples: float, per_step: int) -> int:
    """Optimizer steps over so many samples."""
    if arguments.max_steps > 0:
        return int(arguments.max_steps)
    return max(1, int(-(-samples * arguments.num_train_epochs // per_step)))


def _model_type(shape: DecoderShape) -> str:
    """What PEFT's choice of projections depends on."""
    if shape.normalizes_outputs:
        return "exaone4"
    return "qwen3" if shape.normalizes_queries else "llama"
