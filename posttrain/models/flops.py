"""Floating-point operations of a forward pass and of a training step. Formulas, no tensors.

A multiplication with its addition counts as two; norms, softmax, activations and the optimizer are left out, as
PyTorch's `FlopCounterMode` leaves them out. Attention is counted by pairs of a query and a key: every head of queries
takes part, so grouping keys and values (GQA) saves none. Which pairs there are is the caller's word: `seen_pairs` is
what a causal model with windows needs, and what kernels that skip masked blocks compute; `square_pairs` is what eager
attention computes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from posttrain.models.activations import Adapters
from posttrain.models.costs import Shape, attention_flops, parameters
from posttrain.models.decoder import DecoderShape
from posttrain.models.memory import trained_parameters

Pairs = Callable[[Shape, str, int], int]


def seen_pairs(shape: Shape, kind: str, length: int) -> int:
    """Pairs of a query and a key it may see: a sliding layer's keys are 1, 2, ... up to the window, and then that."""
    if kind != "sliding_attention" or length <= shape.sliding_window:
        return length * (length + 1) // 2
    window = shape.sliding_window
    return window * (window + 1) // 2 + (length - window) * window


def square_pairs(_shape: Shape, _kind: str, length: int) -> int:
    """All pairs, those that the mask hides too."""
    return length * length


@dataclass(frozen=True, slots=True)
class Forward:
    """FLOPs of a forward pass: in the layers' matrices, in attention's scores and sums, in adapters, in the head."""

    matrices: int
    attention: int
    adapters: int = 0
    head: int = 0

    @property
    def layers(self) -> int:
        """Of the layers, without the head."""
        return self.matrices + self.attention + self.adapters

    @property
    def total(self) -> int:
        """Of the whole pass."""
        return self.layers + self.head

    def __add__(self, other: "Forward") -> "Forward":
        return Forward(
            self.matrices + other.matrices,
            self.attention + other.attention,
            self.adapters + other.adapters,
            self.head + other.head,
        )


def forward(
    shape: DecoderShape,
    lengths: Iterable[int],
    scored: int,
    *,
    adapters: Adapters | None = None,
    pairs: Pairs = seen_pairs,
) -> Forward:
    """FLOPs of one forward pass.

    Args:
        shape: The model's sizes.
        lengths: Tokens of each sequence, padding included; packed documents count by themselves.
        scored: Tokens that the head is applied to.
        adapters: LoRA's, which come on top of the matrices.
        pairs: Which pairs of a query and a key are computed.
    """
    lengths = list(lengths)
    parts = parameters(shape, shape.vocab_size)
    biases = shape.num_layers * shape.head_dim * (shape.num_heads + 2 * shape.num_kv_heads)
    weights = parts["attention"] - (biases if shape.attention_bias else 0) + parts["ffn"]
    per_pair = attention_flops(shape, "full_attention", 1)
    of_kinds = {kind: shape.layer_types.count(kind) for kind in set(shape.layer_types)}
    attended = sum(count * pairs(shape, kind, n) for kind, count in of_kinds.items() for n in lengths)
    tokens = sum(lengths)
    return Forward(
        matrices=2 * weights * tokens,
        attention=per_pair * attended,
        adapters=2 * trained_parameters(shape, adapters) * tokens if adapters else 0,
        head=2 * scored * parts["embedding"],
    )


def forward_and_backward(
    passed: Forward, *, gradient_checkpointing: bool = False, is_head_repeated: bool = False, trains_all: bool = True
) -> int:
    """FLOPs of a forward pass and its backward pass, which has two products for each of the forward's.

    Args:
        passed: The forward pass.
        gradient_checkpointing: The layers are computed a second time.
        is_head_repeated: The head's logits are, as where they are computed some at a time.
        trains_all: Else frozen matrices have no gradient of their own, only that of their input.
    """
    frozen = passed.matrices + passed.head
    once_more = (passed.layers if gradient_checkpointing else 0) + (passed.head if is_head_repeated else 0)
    return 3 * passed.total - (0 if trains_all else frozen) + once_more
