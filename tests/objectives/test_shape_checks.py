import jaxtyping
import pytest
import torch

from posttrain.objectives import group_types, leave_one_out, sequence_kl


def test_tensors_of_different_groups_are_refused_in_tests():
    with pytest.raises(jaxtyping.TypeCheckError):
        leave_one_out(torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool))


def test_a_reward_cannot_pass_for_an_outcome_in_tests():
    with pytest.raises(jaxtyping.TypeCheckError):
        group_types(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool))


def test_an_integer_mask_is_refused_in_tests():
    with pytest.raises(jaxtyping.TypeCheckError):
        sequence_kl(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.long))
