"""The memory that training takes on one device, by part, at its worst moment. Formulas, no tensors.

A step has several moments that can be the worst: the head (all activations are there, no gradient is), the backward
pass of each layer (activations go, gradients come), the embedding's gradient, and the optimizer (all gradients, no
activation). Each is counted by part, and the largest sum is the peak.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from posttrain.models.activations import PROJECTIONS, Adapters, Rows, final_norm_kept, layer_kept
from posttrain.models.costs import kv_cache_bytes, parameters
from posttrain.models.decoder import DecoderShape
from posttrain.objectives.log_probs import MAX_LOGITS

FLOAT32 = 4  # bytes
SHARDINGS = ("none", "ddp", "zero1", "zero2", "zero3", "fsdp2")
BUCKET = 500_000_000  # numbers that DeepSpeed collects before it reduces them
TILE = 4096 * 32_768  # logits of TRL's head at a time: tokens x columns


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained, as far as memory goes.

    Attributes:
        number: Bytes of a number of the model: 4 in float32, 2 in 16 bit.
        adapters: What LoRA trains; None: all weights.
        gradient_checkpointing: Each layer keeps its input alone and is computed again in the backward pass.
        activation_offloading: What layers keep goes to the host and comes back.
        attention: Which implementation: `segments` is ours.
        accumulation: Micro-batches of a step.
        sharding: One of `SHARDINGS`.
        processes: Over which it shards.
        on_cpu: Whether it runs on a CPU, where our own head takes the place of TRL's.
        reference: Whether a frozen copy of the model stays beside it, sharded as its weights are.
    """

    number: int = FLOAT32
    adapters: Adapters | None = None
    gradient_checkpointing: bool = False
    activation_offloading: bool = False
    attention: str = "segments"
    accumulation: int = 1
    sharding: str = "none"
    processes: int = 1
    on_cpu: bool = True
    reference: bool = False

    def __post_init__(self) -> None:
        if self.sharding not in SHARDINGS:
            raise ValueError(f"sharding is {self.sharding!r}; give one of {', '.join(SHARDINGS)}")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of each part at one moment, and what waits on the host meanwhile."""

    moment: str
    parts: dict[str, int] = field(default_factory=dict)
    on_host: int = 0

    @property
    def total(self) -> int:
        """Bytes on the device."""
        return sum(self.parts.values())


def peak(shape: DecoderShape, rows: Rows, training: Training) -> Memory:
    """The worst moment of a training step."""
    return max(_moments(shape, rows, training), key=lambda memory: memory.total)


def generation(shape: DecoderShape, sequences: int, length: int, training: Training) -> Memory:
    """While the trainer itself samples: `sequences` at a time, of `length` tokens when they end."""
    held = resident(shape, training)
    cache = sequences * kv_cache_bytes(shape, length, training.number)
    parts = {"weights": held.weights, "reference": held.reference, "optimizer": held.optimizer, "KV cache": cache}
    return Memory("generation", parts)


def trained_parameters(shape: DecoderShape, adapters: Adapters | None) -> int:
    """How many numbers the optimizer changes."""
    return _of_layer(shape, adapters) * shape.num_layers + (0 if adapters else _outside(shape))


def _of_layer(shape: DecoderShape, adapters: Adapters | None) -> int:
    """Trained numbers of one layer."""
    if adapters is None:
        parts = parameters(shape, shape.vocab_size)
        return (sum(parts.values()) - _outside(shape)) // shape.num_layers
    hidden, width = shape.hidden_size, shape.intermediate_size
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    sizes = dict(zip(PROJECTIONS, (queries, keys, keys, queries, width, width, width), strict=True))
    return adapters.rank * sum(hidden + sizes[name] for name in adapters.targets)


def _outside(shape: DecoderShape) -> int:
    """Numbers outside the layers: embedding, head, the last norm."""
    parts = parameters(shape, shape.vocab_size)
    return parts["embedding"] + parts["head"] + shape.hidden_size


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes that are there all along."""

    weights: int
    optimizer: int
    exchange: int
    gradient: float  # bytes of a trained number's gradient on this device
    reference: int


def resident(shape: DecoderShape, training: Training) -> Resident:
    """After the first step, when the optimizer's states exist.

    DeepSpeed keeps float32 weights and AdamW's two states of its share, and reduces gradients into float32; FSDP2 under
    mixed precision shards float32 weights. Both gather a layer and the next one, and have a layer's gradient before it
    is shared out; the others exchange buckets.
    """
    every = sum(parameters(shape, shape.vocab_size).values())
    trained, number = trained_parameters(shape, training.adapters), training.number
    if training.adapters is not None:
        every += trained
    share, layer = training.processes, (every - _outside(shape)) // shape.num_layers
    is_sharded = training.sharding in ("zero3", "fsdp2")
    reference = every * number // (share if is_sharded else 1) if training.reference else 0
    if training.sharding in ("none", "ddp"):
        buckets = trained * number if training.sharding == "ddp" else 0
        return Resident(every * number, 2 * trained * number, buckets, number, reference)
    if training.sharding in ("zero1", "zero2"):
        gradient = number if training.sharding == "zero1" else FLOAT32 / share
        exchange = min(BUCKET, trained) * number
        return Resident(every * number, 3 * FLOAT32 * trained // share, exchange, gradient, reference)
    gathered = 3 * layer * number
    if training.sharding == "zero3":
        exchange = gathered + min(BUCKET, trained) * number
        return Resident(every * number // share, 3 * FLOAT32 * trained // share, exchange, FLOAT32 / share, reference)
    weights = (trained * FLOAT32 + (every - trained) * number) // share
    return Resident(weights, 2 * FLOAT32 * trained // share, gathered, FLOAT32 / share, reference)


def _moments(shape: DecoderShape, rows: Rows, training: Training) -> Iterator[Memory]:
    held, number, adapters = resident(shape, training), training.number, training.adapters
    is_whole = adapters is None
    kept = [
        layer_kept(shape, kind, rows, number=number, attention=training.attention, adapters=adapters)
        for kind in shape.layer_types
    ]
    row_input = rows.rows * rows.tokens * shape.hidden_size * number  # of a layer
    stored = [row_input if training.gradient_checkpointing else layer.total for layer in kept]
    embedding = shape.vocab_size * shape.hidden_size
    head = _Head.of(shape, rows, training)
    all_gradients = int(held.gradient * trained_parameters(shape, adapters))
    layer_gradients = int(held.gradient * _of_layer(shape, adapters))
    from_start = training.accumulation > 1 or training.sharding not in ("none", "ddp")

    def moment(name: str, *, stored_bytes: int, gradients: int, layer: int = 0, of_head: int = 0) -> Memory:
        on_host = stored_bytes if training.activation_offloading else 0
        parts = {
            "weights": held.weights,
            "reference": held.reference,
            "optimizer": held.optimizer,
            "gradients": all_gradients if from_start else min(gradients, all_gradients),
            "activations": stored_bytes - on_host,
            "one layer": layer,
            "head": of_head,
            "exchange": held.exchange,
        }
        return Memory(name, parts, on_host)

    norm = final_norm_kept(shape, rows, number=number, adapters=adapters)
    everything = sum(stored) + norm
    yield moment("head, forward", stored_bytes=everything, gradients=0, of_head=head.forward)
    yield moment("head, backward", stored_bytes=everything, gradients=0, of_head=head.backward)
    done = int(held.gradient * embedding) if is_whole else 0  # the head's, tied or not
    for index in reversed(range(shape.num_layers)):
        again = kept[index].total if training.gradient_checkpointing or training.activation_offloading else 0
        below = sum(stored[:index]) if training.gradient_checkpointing else sum(stored[: index + 1])
        layer = again + kept[index].transient
        done += layer_gradients
        yield moment(f"backward of layer {index}", stored_bytes=below, gradients=done, layer=layer)
    of_embedding = embedding * number if is_whole and (shape.tie_word_embeddings or from_start) else 0
    yield moment("the embedding's gradient", stored_bytes=0, gradients=all_gradients, of_head=of_embedding)


@dataclass(frozen=True, slots=True)
class _Head:
    """Bytes of the head's own tensors; those of its weight's gradient among them."""

    forward: int
    backward: int

    @staticmethod
    def of(shape: DecoderShape, rows: Rows, training: Training) -> "_Head":
        """Where logits exist for some tokens or some columns at a time, their number has a bound."""
        number, embedding = training.number, shape.vocab_size * shape.hidden_size
        states = rows.trained * shape.hidden_size
        weight = embedding if training.adapters is None else 0
        is_sharded = training.sharding in ("zero3", "fsdp2")
        if not training.on_cpu or is_sharded:  # TRL's: a tile of logits; gradients in float32, then in the model's type
            gathered = embedding * number if is_sharded else 0
            tile = min(rows.trained, 4096) * min(shape.vocab_size, TILE // 4096) * number
            gradients = (states + weight) * (FLOAT32 + number)
            return _Head(states * number + tile + gathered, states * number + tile + gradients + gathered)
        in_float32 = FLOAT32 if number == FLOAT32 else FLOAT32 + number  # a matrix product, and its copy
        some = max(1, MAX_LOGITS // shape.vocab_size)
        if rows.trained <= some:
            logits = rows.trained * shape.vocab_size
            forward, backward = logits * (in_float32 + FLOAT32), logits * in_float32
        else:  # those of the last tokens are still there when the next are computed
            forward = backward = some * shape.vocab_size * 2 * (FLOAT32 + FLOAT32)
        return _Head(states * number + forward, states * number + backward + (states + weight) * number)
