import pytest
import torch

from posttrain.preference.metrics import LabelledMeans, group_figures


def alone(sums):
    return sums


def test_figures_of_pairs_by_hand():
    """Two sides of one probability are in no order."""
    probs = torch.tensor([[0.6, 0.2], [0.1, 0.3], [0.4, 0.4]])
    figures = group_figures(probs, torch.tensor([[1.0, -1.0]] * 3), torch.tensor([[3, 5], [4, 2], [1, 1]]))
    assert {name: values.tolist() for name, values in figures.items()} == {
        "prob/chosen": pytest.approx([0.6, 0.1, 0.4]),
        "prob/rejected": pytest.approx([0.2, 0.3, 0.4]),
        "margin": pytest.approx([0.4, -0.2, 0.0]),
        "ordering_accuracy": [1.0, 0.0, 0.0],
        "length/chosen": [3.0, 4.0, 1.0],
        "length/rejected": [5.0, 2.0, 1.0],
    }


def test_figures_of_groups_by_hand():
    """An average response counts for the order only, and the place without a response for nothing."""
    probs = torch.tensor([[0.5, 0.3, 0.4, 0.1], [0.2, 0.1, 0.0, 0.0]])
    weights = torch.tensor([[1.0, 0.0, -0.5, -0.5], [1.0, -1.0, 0.0, 0.0]])
    figures = group_figures(probs, weights, torch.tensor([[2, 9, 4, 8], [1, 3, 0, 0]]))
    assert figures["prob/rejected"].tolist() == pytest.approx([0.25, 0.1])
    assert figures["length/rejected"].tolist() == [6.0, 3.0]
    # of the first group: 1 over 2, 3 and 4 is right, 2 over 4 too, 2 over 3 is not; 3 and 4 weigh the same
    assert figures["ordering_accuracy"].tolist() == pytest.approx([4 / 5, 1.0])


def figures(margins):
    values = torch.tensor(margins)
    return {"margin": values, "length/chosen": 10 * values}


def test_means_weigh_every_group_the_same_however_they_come():
    means = LabelledMeans(["en", "ko"])
    means.add(figures([1.0, 2.0, 3.0]), [("reasoning", "en"), ("reasoning", "ko"), ("reasoning",)])
    means.add(figures([6.0]), [("reasoning", "ko")])
    assert means.pop(alone) == {"margin": 3.0, "length/chosen": 30.0, "margin/en": 1.0, "margin/ko": 4.0}
    assert means.pop(alone) == {}


def test_processes_are_added_up_before_the_mean_is_taken():
    """One process has three groups of a language, the other one: not the mean of two means."""
    here, there = LabelledMeans(["en"]), LabelledMeans(["en"])
    here.add(figures([1.0, 1.0, 1.0]), [("en",)] * 3)
    there.add(figures([5.0]), [("en",)])
    of_there = []
    there.pop(lambda sums: of_there.append(sums) or sums)
    assert here.pop(lambda sums: sums + of_there[0])["margin/en"] == 2.0
