"""What work costs on devices: memory by part, seconds by phase. Arithmetic alone.

Seconds are FLOPs over a share of the peak, or bytes over a share of a bandwidth, whichever is more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from posttrain.models.costs import kv_cache_bytes, parameters, token_flops
from posttrain.models.flops import forward, forward_and_backward
from posttrain.models.memory import Memory, Training, generation, peak, resident
from posttrain.objectives.log_probs import MAX_LOGITS
from posttrain.plan.devices import Device
from posttrain.plan.options import Options
from posttrain.plan.work import Sampling, Update, Work

COMPUTE, DECODE, EXCHANGE = "compute", "memory bandwidth", "exchange between devices"
TRANSFER, GRADING = "weight transfer", "grading"


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a step, what bounds it, and the arithmetic in words."""

    name: str
    seconds: float
    bound: str
    how: str


@dataclass(frozen=True, slots=True)
class Load:
    """Bytes on a device at one moment, by part; `room` is what it may hold."""

    device: str
    moment: str
    parts: Mapping[str, int]
    room: float
    on_host: int = 0

    @property
    def total(self) -> int:
        """Of all parts."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.total <= self.room


@dataclass(frozen=True, slots=True)
class Plan:
    """Loads and phases of a stage's work."""

    work: Work
    device: Device
    options: Options
    loads: tuple[Load, ...]
    phases: tuple[Phase, ...]

    @property
    def fits(self) -> bool:
        """Whether every device has room."""
        return all(load.fits for load in self.loads)

    @property
    def step_seconds(self) -> float:
        """Of an optimizer step, or of a stage that only samples."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Of the stage, without start, checkpoints and evaluation."""
        return self.work.steps * self.step_seconds

    @property
    def device_hours(self) -> float:
        """Of all devices, idle ones too."""
        return self.work.devices * self.seconds / 3600

    @property
    def price(self) -> float | None:
        """Of the stage; None: no price was given."""
        return None if self.options.price_per_hour is None else self.device_hours * self.options.price_per_hour

    @property
    def bottleneck(self) -> Phase:
        """The longest phase."""
        return max(self.phases, key=lambda phase: phase.seconds)


def cost(work: Work, device: Device, options: Options) -> Plan:
    """The plan of a stage's work."""
    loads, phases = [], []
    if work.sampling is not None:
        loads.append(_sampling_load(work, work.sampling, device, options))
        phases += _sampling_phases(work, work.sampling, device, options)
    if work.update is not None:
        loads.insert(0, _training_load(work, work.update, device, options))
        phases += _update_phases(work, work.update, device, options)
    return Plan(work, device, options, tuple(loads), tuple(phases))


# --- memory ---


def _training_load(work: Work, update: Update, device: Device, options: Options) -> Load:
    memory: Memory = peak(work.shape, update.rows, update.training)
    parts, sampling = dict(memory.parts), work.sampling
    if sampling is not None and sampling.where == "colocate" and not sampling.sleeps:
        parts["engine"] = int(sampling.memory_share * device.memory)
    return Load("training", memory.moment, parts, options.usable * device.memory, memory.on_host)


def _sampling_load(work: Work, sampling: Sampling, device: Device, options: Options) -> Load:
    """An engine fills its share with the caches of as many sequences as it takes; one has to fit."""
    room, update = options.usable * device.memory, work.update
    if sampling.where == "trainer" and update is not None:
        sequences = -(-sampling.responses // sampling.devices)
        memory = generation(work.shape, sequences, sampling.longest_sequence, update.training)
        return Load("sampling", memory.moment, memory.parts, room)
    parts = {}
    if sampling.where == "colocate" and update is not None:
        beside = resident(work.shape, update.training)
        parts = {"weights": beside.weights, "reference": beside.reference, "optimizer": beside.optimizer}
    weights = _weight_bytes(work) // sampling.tensor_parallel
    one = _cache_bytes(work, sampling, sampling.longest_sequence)
    share = sampling.memory_share * device.memory
    wanted = max(one, int(_at_once(work, sampling, device) * _cache_bytes(work, sampling, _mean_length(sampling))))
    cache = max(one, min(wanted, int(share - weights)))
    if sampling.where == "colocate":  # vLLM takes its share, whatever it needs of it
        cache = max(one, int(share - weights))
    return Load("sampling", "decoding", parts | {"engine": weights, "KV cache": cache}, room)


# --- time ---


def _update_phases(work: Work, update: Update, device: Device, options: Options) -> list[Phase]:
    training, shape = update.training, work.shape
    passed = forward(shape, update.sequences, update.scored, adapters=training.adapters)
    is_head_repeated = not training.on_cpu or update.scored * shape.vocab_size > MAX_LOGITS
    step = update.micro_batches * forward_and_backward(
        passed,
        gradient_checkpointing=training.gradient_checkpointing,
        is_head_repeated=is_head_repeated,
        trains_all=training.adapters is None,
    )
    rate = options.mfu * device.flops
    computing, told = step / rate, f"{three_digits(step / 1e12)} TFLOPs a device at {three_digits(rate / 1e12)} TFLOP/s"
    moved = exchanged_bytes(_parameters(work), training, update.micro_batches)
    exchanging = moved / _between(device, training.processes, options)
    phases = []
    if update.reference_passes:
        once = update.micro_batches * update.reference_passes * passed.total
        phases.append(
            Phase("reference", once / rate, COMPUTE, f"{three_digits(once / 1e12)} TFLOPs a device, forward alone")
        )
    if exchanging > computing:
        told = f"{three_digits(moved / 1e9)} GB a device and step; computing would take {three_digits(computing)} s"
    bound = EXCHANGE if exchanging > computing else COMPUTE
    return [*phases, Phase("update", max(computing, exchanging), bound, told)]


def exchanged_bytes(num_parameters: int, training: Training, micro_batches: int) -> float:
    """Bytes that a device receives in a step to share out the model; a ring sends (n - 1) / n of what there is.

    DDP and ZeRO-1 reduce gradients once a step, which is twice their size; ZeRO-2 reduces them to their owners after
    every micro-batch and gathers new weights once; ZeRO-3 and FSDP2 gather weights for the forward and for the backward
    pass of every micro-batch, and reduce gradients to their owners.
    """
    whole = num_parameters * training.number * (training.processes - 1) / training.processes
    if training.adapters is not None and training.sharding not in ("zero3", "fsdp2"):
        return 0.0  # adapters are small
    times = {
        "none": 0,
        "ddp": 2,
        "zero1": 2,
        "zero2": micro_batches + 1,
        "zero3": 3 * micro_batches,
        "fsdp2": 3 * micro_batches,
    }
    return whole * times[training.sharding]


def _sampling_phases(work: Work, sampling: Sampling, device: Device, options: Options) -> list[Phase]:
    if sampling.responses == 0:
        return []
    per_step = 1 / sampling.updates
    phases = []
    if sampling.where in ("colocate", "server"):
        phases.append(_transfer(work, sampling, device, options, per_step))
    engine = _Engine(work, sampling, device, options)
    prompts = sampling.prompts * forward(work.shape, [sampling.prompt_tokens], scored=1).total
    reading = prompts / (sampling.engines * sampling.tensor_parallel * options.mfu * device.flops)
    at_once = engine.at_once
    rounds = sampling.responses / (sampling.engines * at_once)
    token = engine.token_seconds(at_once)
    bulk = rounds * sampling.response_tokens * token
    # Of a batch that has to be whole, the longest response goes on alone.
    alone = max(0.0, sampling.longest - rounds * sampling.response_tokens) if sampling.where != "alone" else 0.0
    tail = alone * engine.token_seconds(1)
    rate = sampling.engines * at_once / token
    told = f"{at_once:,.0f} at a time, {three_digits(1000 * token)} ms a token: {rate:,.0f} tokens/s"
    if tail:
        told += f"; the longest alone {three_digits(tail)} s more"
    bound = engine.bound(at_once)
    phases.append(Phase("generation", per_step * (reading + bulk + tail), bound, told))
    grading = sampling.responses * options.grading_seconds / sampling.graders
    told = f"{sampling.responses:,} responses x {options.grading_seconds:g} s in {sampling.graders} processes"
    return [*phases, Phase("grading", per_step * grading, GRADING, told)]


class _Engine:
    """How long a decoding step takes: weights and caches are read once for every token of all sequences."""

    def __init__(self, work: Work, sampling: Sampling, device: Device, options: Options) -> None:
        self.at_once = _at_once(work, sampling, device)
        length = sampling.prompt_tokens + sampling.response_tokens // 2
        self._weights = _weight_bytes(work) / sampling.tensor_parallel / (options.bandwidth_share * device.bandwidth)
        cache = _cache_bytes(work, sampling, length)
        self._cache = cache / (options.bandwidth_share * device.bandwidth)
        flops = token_flops(work.shape, work.shape.vocab_size, length)
        self._computing = flops / sampling.tensor_parallel / (options.mfu * device.flops)
        self._overhead = options.decode_overhead

    def token_seconds(self, sequences: float) -> float:
        """Of one token of so many sequences."""
        return max(self._weights + sequences * self._cache, sequences * self._computing) + self._overhead

    def bound(self, sequences: float) -> str:
        """What a decoding step waits for."""
        return COMPUTE if sequences * self._computing > self._weights + sequences * self._cache else DECODE


def _transfer(work: Work, sampling: Sampling, device: Device, options: Options, per_step: float) -> Phase:
    """The trainer's weights to the engines: over the network from one process to a server, else within the device."""
    size = _weight_bytes(work)
    if sampling.where == "server":
        seconds = size / (options.bandwidth_share * device.network)
        told = f"{three_digits(size / 1e9)} GB from one process over {device.network / 1e9:g} GB/s"
    else:
        is_sharded = work.update is not None and work.update.training.sharding in ("zero3", "fsdp2")
        across = _between(device, work.devices, options) if is_sharded else options.bandwidth_share * device.bandwidth
        seconds, told = size / across, f"{three_digits(size / 1e9)} GB to the engine on the same device"
    return Phase("weights", per_step * seconds, TRANSFER, told)


def _at_once(work: Work, sampling: Sampling, device: Device) -> float:
    """Sequences of mean length whose caches an engine has room for, as far as there are so many."""
    wanted = min(sampling.at_once, -(-sampling.responses // sampling.engines))
    if sampling.where == "trainer":
        return max(1, wanted)
    room = sampling.memory_share * device.memory - _weight_bytes(work) / sampling.tensor_parallel
    return max(1, min(wanted, room // _cache_bytes(work, sampling, _mean_length(sampling))))


def _mean_length(sampling: Sampling) -> int:
    return sampling.prompt_tokens + sampling.response_tokens


def _cache_bytes(work: Work, sampling: Sampling, length: int) -> int:
    """Of a sequence, on each device of an engine; more devices than KV heads hold some of them twice."""
    split = min(sampling.tensor_parallel, work.shape.num_kv_heads)
    return max(1, kv_cache_bytes(work.shape, length, work.number) // split)


def _between(device: Device, processes: int, options: Options) -> float:
    """Bytes/s that a device receives in a collective operation; across nodes all adapters of a node carry a ring."""
    is_one_node = processes <= device.per_node
    return options.bandwidth_share * (
        device.link if is_one_node else min(device.link, device.network * device.per_node)
    )


def _parameters(work: Work) -> int:
    return sum(parameters(work.shape, work.shape.vocab_size).values())


def _weight_bytes(work: Work) -> int:
    return _parameters(work) * work.number


def three_digits(number: float) -> str:
    """A number to read: 12,345 or 1.23."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
