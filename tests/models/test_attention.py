"""Our attention gives what eager attention gives, and does not see what it must not."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Exaone4Config, LlamaConfig, PreTrainedModel

from posttrain.models.attention import SEGMENTS, Segment, segment_attention

WINDOW = 8
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}
HYBRID = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]


@pytest.fixture(params=["hybrid", "hybrid without GQA", "llama"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    heads = 4 if request.param == "hybrid without GQA" else 2
    if request.param == "llama":
        config: Any = LlamaConfig(**SIZES, num_key_value_heads=2)
    else:
        config = Exaone4Config(**SIZES, num_key_value_heads=heads, sliding_window=WINDOW, layer_types=HYBRID)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(1, 64, shape, generator=torch.Generator().manual_seed(1))


def outputs(model: Any, implementation: str, counted: torch.Tensor, **inputs: Any) -> list[torch.Tensor]:
    """The logits where `counted`, and the gradient of all weights under a loss on them."""
    model.set_attn_implementation(implementation)
    model.zero_grad()
    logits = model(**inputs, use_cache=False).logits[counted]
    (logits.softmax(-1) * torch.arange(64.0)).sum().backward()
    return [logits.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


def assert_equal(got: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("length", [1, 5, WINDOW, WINDOW + 1, 2 * WINDOW, 37])
def test_whole_rows_are_as_under_eager_attention(model: Any, length: int) -> None:
    counted = torch.ones(3, length, dtype=torch.bool)
    inputs = {"input_ids": tokens(3, length)}
    assert_equal(outputs(model, SEGMENTS, counted, **inputs), outputs(model, "eager", counted, **inputs))


@pytest.mark.parametrize("window", [1, 63, 64, 100, 256, 270])
@pytest.mark.parametrize("length", [60, 300, 701])
def test_windows_of_several_blocks_are_as_a_masked_square(window: int, length: int) -> None:
    """Blocks are a quarter of the window and no less than 64: here windows of 1 to 4 blocks, whole and not."""
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(2, 3, length, 8, generator=generator).requires_grad_() for _ in range(3)]
    ones = torch.ones(length, length, dtype=torch.bool)
    expected = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=ones.tril().triu(1 - window))
    got, _ = segment_attention(torch.nn.Module(), *heads, None, sliding_window=window)
    got = got.transpose(1, 2)
    results = [[out.detach(), *torch.autograd.grad((out * out).sum(), heads)] for out in (got, expected)]
    assert_equal(*results)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_are_as_under_eager_attention(model: Any, side: str) -> None:
    lengths = [37, 5, 20]
    mask = torch.zeros(3, 37, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, (slice(-length, None) if side == "left" else slice(length))] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {"input_ids": tokens(3, 37) * mask, "attention_mask": mask, "position_ids": positions}
    counted = mask.bool()
    assert_equal(outputs(model, SEGMENTS, counted, **inputs), outputs(model, "eager", counted, **inputs))


@pytest.mark.parametrize("told", [True, False])
def test_packed_documents_are_as_each_alone(model: Any, told: bool) -> None:
    documents = [tokens(n) for n in (3, 20, WINDOW, 17)]
    packed = outputs(model, SEGMENTS, torch.ones(1, 48, dtype=torch.bool), **packed_inputs(documents, told=told))
    model.set_attn_implementation("eager")
    model.zero_grad()
    alone = torch.cat([model(document[None], use_cache=False).logits[0] for document in documents])
    (alone.softmax(-1) * torch.arange(64.0)).sum().backward()
    assert_equal(packed, [alone.detach(), *(parameter.grad for parameter in model.parameters())])


def test_packed_documents_stay_apart_even_with_a_mask_of_ones_and_the_cache_on(model: Any) -> None:
    documents = [tokens(12), tokens(9)]
    inputs = packed_inputs(documents, told=False) | {"attention_mask": torch.ones(1, 21, dtype=torch.long)}
    model.set_attn_implementation(SEGMENTS)
    before = model(**inputs, use_cache=True).logits[0, 12:]
    inputs["input_ids"][0, 3] = 63 - inputs["input_ids"][0, 3]
    torch.testing.assert_close(model(**inputs, use_cache=True).logits[0, 12:], before, rtol=0, atol=0)


@pytest.mark.parametrize(("prompt", "branches"), [(5, (4, 2)), (30, (3, 12)), (2, (25, 25))])
def test_branches_of_one_prompt_are_as_each_after_the_prompt(model: Any, prompt: int, branches: Any) -> None:
    first, *completions = (tokens(n) for n in (prompt, *branches))
    segments, positions, reached = [Segment(0, prompt)], [*range(prompt)], prompt
    for completion in completions:
        segments.append(Segment(reached, reached + len(completion), (0, prompt)))
        positions += range(prompt, prompt + len(completion))
        reached += len(completion)
    inputs = {
        "input_ids": torch.cat([first, *completions])[None],
        "position_ids": torch.tensor([positions]),
        "segments": segments,
    }
    counted = torch.zeros(1, reached, dtype=torch.bool)
    counted[:, prompt:] = True
    together = outputs(model, SEGMENTS, counted, **inputs)
    model.set_attn_implementation("eager")
    model.zero_grad()
    rows = [torch.cat([first, completion])[None] for completion in completions]
    apart = torch.cat([model(row, use_cache=False).logits[0, prompt:] for row in rows])
    (apart.softmax(-1) * torch.arange(64.0)).sum().backward()
    assert_equal(together, [apart.detach(), *(parameter.grad for parameter in model.parameters())])


def test_generation_with_a_cache_and_left_padding_is_as_under_eager_attention(model: Any) -> None:
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, :5] = 0
    answers = []
    for implementation in ("eager", SEGMENTS):
        model.set_attn_implementation(implementation)
        answers.append(
            model.generate(
                tokens(2, 12) * mask, attention_mask=mask, do_sample=False, max_new_tokens=20, min_new_tokens=20
            )
        )
    assert torch.equal(*answers)


def packed_inputs(documents: list[torch.Tensor], *, told: bool) -> dict[str, Any]:
    edges = [0]
    for document in documents:
        edges.append(edges[-1] + len(document))
    inputs: dict[str, Any] = {
        "input_ids": torch.cat(documents)[None],
        "position_ids": torch.cat([torch.arange(len(document)) for document in documents])[None],
    }
    if told:
        inputs["segments"] = [Segment(*both) for both in pairwise(edges)]
    return inputs
