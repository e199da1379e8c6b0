"""FLOPs by formula against those that PyTorch counts, and attention's pairs against a sum over tokens."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from posttrain.models.activations import Adapters
from posttrain.models.build import HybridShape, model_config
from posttrain.models.costs import KINDS, attention_flops
from posttrain.models.decoder import read_decoder
from posttrain.models.flops import Forward, forward, forward_and_backward, seen_pairs, square_pairs

SHAPE = HybridShape(vocab_size=512, sliding_window=16)  # 3 sliding layers to 1 full one, 4 heads to 2 of keys
DECODER = read_decoder(model_config(SHAPE))


def counted(trainer: Any, steps: int) -> int:
    """FLOPs of a step, as PyTorch counts them; it knows `addmm`, but not the form in place that our head takes."""

    def addmm_in_place(_sum: list[int], left: list[int], right: list[int], **_: Any) -> int:
        return 2 * left[0] * left[1] * right[1]

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: addmm_in_place}) as counter:
        trainer.train()
    total, rest = divmod(counter.get_total_flops(), steps)
    assert rest == 0
    return total


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_sft_step_has_exactly_the_flops_that_pytorch_counts(checkpointing: bool) -> None:
    """Eager attention computes every pair, those behind the mask too. 99 tokens of 100 are predicted."""
    from tests.models.trainers import STEPS, How, make_trainer

    trainer = make_trainer(SHAPE, [[100]], How(attention="eager", checkpointing=checkpointing))
    passed = forward(DECODER, [100], scored=99, pairs=square_pairs)
    assert counted(trainer, STEPS) == forward_and_backward(passed, gradient_checkpointing=checkpointing)


@pytest.mark.slow
def test_agapo_update_has_exactly_the_flops_that_pytorch_counts() -> None:
    """A prompt of 20 tokens and four responses: sorted, two micro-batches padded to 50 and to 80 tokens.

    Each has a forward pass of the reference model, and a forward and a backward one of the policy; the head sees the
    160 tokens of the responses in each.
    """
    from tests.models.trainers import STEPS, How, make_trainer

    trainer = make_trainer(SHAPE, [[20], [60, 30, 40, 30]], How(attention="eager", batch=2, accumulation=2))
    passed = forward(DECODER, [50, 50, 80, 80], scored=160, pairs=square_pairs)
    assert counted(trainer, STEPS) == passed.total + forward_and_backward(passed)


def test_pairs_that_are_seen_are_those_of_every_token_in_turn() -> None:
    for length in (10, 16, 17, 200):
        for kind in KINDS:
            by_token = sum(attention_flops(DECODER, kind, position) for position in range(1, length + 1))
            assert attention_flops(DECODER, kind, 1) * seen_pairs(DECODER, kind, length) == by_token


def test_packed_documents_cost_less_attention_than_one_as_long_and_the_same_matrices() -> None:
    whole, packed = (forward(DECODER, lengths, scored=0) for lengths in ([96], [48, 48]))
    assert packed.matrices == whole.matrices
    # Full layer: 96 x 97 / 2 pairs against 2 x 48 x 49 / 2. A sliding one: 136 of the first 16, then 16 a token.
    assert whole.attention == 4 * 128 * (4656 + 3 * (136 + 80 * 16))
    assert packed.attention == 4 * 128 * (2352 + 3 * 2 * (136 + 32 * 16))


def test_step_is_three_passes_and_more_where_something_is_computed_again() -> None:
    passed = Forward(matrices=100, attention=20, adapters=5, head=30)
    assert forward_and_backward(passed) == 3 * 155
    assert forward_and_backward(passed, gradient_checkpointing=True) == 3 * 155 + 125
    assert forward_and_backward(passed, is_head_repeated=True) == 3 * 155 + 30
    assert forward_and_backward(passed, trains_all=False) == 3 * 155 - 130


def test_adapters_add_two_thin_products_to_each_matrix() -> None:
    """Rank 8 on queries, 128 to 128, and values, 128 to 64, of 4 layers."""
    adapters = Adapters(8, frozenset({"q_proj", "v_proj"}))
    assert forward(DECODER, [10], 0, adapters=adapters).adapters == 10 * 4 * 2 * 8 * (128 + 128 + 128 + 64)
