"""The plan in the docs is what the formulas say, and the formulas are sums done by hand."""

from pathlib import Path

import pytest

from posttrain.models.long_plan import PLANS, tables

PAGE = Path(__file__).parents[2] / "docs" / "memory.md"


def test_page_has_the_tables_as_they_are_computed() -> None:
    assert "\n".join(tables()) in PAGE.read_text()


def test_parts_of_the_largest_plan_are_those_done_by_hand() -> None:
    memory = PLANS[1].memory
    assert memory.moment == "backward of layer 63"
    assert memory.parts["activations"] == 63 * 131_072 * 5120 * 2
    assert memory.parts["weights"] == pytest.approx(32.0e9 * 4 / 64, rel=0.01)
    assert memory.parts["optimizer"] == pytest.approx(2 * memory.parts["weights"], rel=0.001)


def test_offloading_moves_activations_to_the_host_and_nothing_else() -> None:
    stays, moved = PLANS[1].memory, PLANS[2].memory
    assert moved.on_host == stays.parts["activations"]
    assert moved.total == stays.total - moved.on_host
