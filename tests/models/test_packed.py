"""Packed rows: what goes where, and that responses score as each alone."""

from typing import Any

import pytest
import torch
from transformers import Exaone4Config, Exaone4ForCausalLM
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import add_fused_lm_head

from posttrain.models.attention import SEGMENTS, Segment
from posttrain.models.head import TokenScorer
from posttrain.models.packed import Branches, pack, pack_responses, shares_prompts

GROUPS = [Branches([5, 6, 7, 8, 9], [[11, 12, 13], [14]]), Branches([20, 21], [[22, 23], [24, 25, 26, 27, 28, 29, 30]])]


def test_positions_start_again_in_every_sequence() -> None:
    packed = pack([[5, 6, 7], [8, 9]])
    assert packed.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert packed.segments == (Segment(0, 3), Segment(3, 5))


def test_a_shared_prompt_is_there_once_and_predicts_the_first_token_of_each_response() -> None:
    row = pack_responses(GROUPS[:1], share_prompt=True)
    assert row.packed.input_ids.tolist() == [[5, 6, 7, 8, 9, 11, 12, 13, 14]]
    assert row.packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 5]]
    assert row.packed.segments == (Segment(0, 5), Segment(5, 8, (0, 5)), Segment(8, 9, (0, 5)))
    assert row.positions_N.tolist() == [4, 5, 6, 4]
    assert row.targets_N.tolist() == [11, 12, 13, 14]
    assert row.lengths == [3, 1]


def test_a_prompt_that_is_not_shared_is_there_for_each_response() -> None:
    row = pack_responses(GROUPS[:1], share_prompt=False)
    assert row.packed.input_ids.tolist() == [[5, 6, 7, 8, 9, 11, 12, 13, 5, 6, 7, 8, 9, 14]]
    assert row.positions_N.tolist() == [4, 5, 6, 12]


@pytest.mark.parametrize("share_prompt", [True, False])
def test_the_tokens_of_branches_are_counted_as_they_are_packed(share_prompt: bool) -> None:
    row = pack_responses(GROUPS, share_prompt=share_prompt)
    assert sum(group.num_tokens(share_prompt=share_prompt) for group in GROUPS) == row.packed.input_ids.numel()


@pytest.mark.parametrize(
    ("attention", "share_prompt"), [(SEGMENTS, True), (SEGMENTS, False), ("sdpa", False), ("eager", False)]
)
def test_packed_responses_score_as_each_alone(attention: str, share_prompt: bool) -> None:
    model = tiny_model(attention)
    row = pack_responses(GROUPS, share_prompt=share_prompt)
    scored = TokenScorer(model).score(model, row.positions_N, row.targets_N, **row.packed.model_inputs())
    expected = [alone(model, prompt, torch.tensor(response)) for prompt, responses in GROUPS for response in responses]
    torch.testing.assert_close(scored.logps_N, torch.cat(expected), rtol=0, atol=1e-5)


def test_kernels_for_gpus_are_told_the_bounds_as_trl_tells_them() -> None:
    rows = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    theirs = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([{"input_ids": row} for row in rows])
    ours = pack(rows).model_inputs()
    for name in ("cu_seq_lens_q", "cu_seq_lens_k", "position_ids"):
        assert ours[name].tolist() == theirs[name].tolist()
        assert ours[name].dtype == theirs[name].dtype
    assert (ours["max_length_q"], ours["max_length_k"]) == (theirs["max_length_q"], theirs["max_length_k"])


def test_only_our_attention_can_share_prompts() -> None:
    assert shares_prompts(tiny_model(SEGMENTS))
    assert not shares_prompts(tiny_model("sdpa"))


def alone(model: Any, prompt: Any, response: torch.Tensor) -> torch.Tensor:
    logits = model(torch.tensor([[*prompt, *response.tolist()]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, response[:, None])[:, 0]


def tiny_model(attention: str) -> Any:
    torch.manual_seed(0)
    config = Exaone4Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=4,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        pad_token_id=0,
    )
    model = Exaone4ForCausalLM._from_config(config, attn_implementation=attention)
    add_fused_lm_head(model)
    return model
