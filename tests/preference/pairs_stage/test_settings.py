"""What the recipe's section `pairs` says is what the builder of stage 1 does."""

from typing import Any

import pytest

from posttrain.grading import Graded
from posttrain.preference.pairs import Sample
from posttrain.preference.pairs_stage import build_pairs
from posttrain.recipe import PairsSection
from rewards.contract import make_attempt

RESPONSES = [(10, True), (10, True), (60, True), (90, True), (5, False), (12, False)]  # tokens, right


@pytest.mark.parametrize(
    ("setting", "rejected"),
    [
        ({}, [[2], [3], [4], [5]]),
        ({"min_correct_share": 0.9}, [[4], [5]]),
        ({"min_length_ratio": 7.0}, [[3], [4], [5]]),
        ({"pairs_per_query": 2, "rejected_order": "longer_first", "rejected_draw": "longest"}, [[3, 2]]),
        ({"rejected_order": "wrong_first"}, [[4], [5]]),
        ({"rejected_order": "wrong_first", "rejected_draw": "longest"}, [[5]]),
        ({"rejected_order": "wrong_first", "refuse_longer_chosen": True}, [[5]]),
    ],
)
def test_every_setting_of_stage_1_reaches_its_builder(setting: dict[str, Any], rejected: list[list[int]]) -> None:
    samples = [
        Sample((number,) * length, make_attempt(f"{number}", {}), Graded(float(is_right), is_right, {}))
        for number, (length, is_right) in enumerate(RESPONSES)
    ]
    section = PairsSection(**{"builder": "shortest_correct", "min_correct_share": 0.5} | setting)
    outcomes = [build_pairs(section, samples, f"0/{query}") for query in range(40)]
    found = {tuple(pair.rejected for pair in outcome.pairs) for outcome in outcomes}
    assert sorted(map(list, found)) == rejected
