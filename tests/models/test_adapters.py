"""Adapters merged for an engine, from a model that stays as it is."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from posttrain.models.adapters import merged_weights

KINDS = {
    "linear": {"target_modules": "all-linear"},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "dora": {"target_modules": "all-linear", "use_dora": True},
    "head in whole": {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["lm_head"]},
}


def adapted(model_folder: Path, kind: str) -> Any:
    """With adapters that are far from nothing, in the precision in which rounding hurts."""
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16)
    model = get_peft_model(model, LoraConfig(r=4, task_type="CAUSAL_LM", **KINDS[kind]))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_weights_for_an_engine_are_those_of_the_merged_model_by_its_names(kind: str, model_folder: Path) -> None:
    model = adapted(model_folder, kind)
    plain = dict(AutoModelForCausalLM.from_pretrained(model_folder).named_parameters())
    merged = dict(copy.deepcopy(model).merge_and_unload().named_parameters())
    weights = dict(merged_weights(model))
    assert weights.keys() == merged.keys() == plain.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, merged[name]), name
    assert any((weights[name].float() - plain[name]).abs().max() > 0.01 for name in plain)


@pytest.mark.parametrize("kind", KINDS)
def test_handing_weights_to_an_engine_moves_no_bit_of_the_model(kind: str, model_folder: Path) -> None:
    model = adapted(model_folder, kind)
    before = copy.deepcopy(model.state_dict())
    for _ in merged_weights(model):
        assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    model.merge_adapter()
    model.unmerge_adapter()  # what peft itself offers
    assert any(not torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
