"""What is said in words, and the points of the budget curve."""

from dataclasses import replace
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.evals.budgets import all_decodings, budget_curves
from posttrain.evals.results import findings
from posttrain.evals.tables import benchmarks_table
from posttrain.recipe import Decoding, EvalRecipe, ModelSection


def entry(mode: str, *, thinks: float, truncated: float = 0.0, looping: float = 0.0) -> dict[str, Any]:
    shares = {"thinks": thinks, "truncated": truncated, "looping": looping}
    metrics = {key: {"mean": value} for key, value in shares.items()}
    return {"name": mode, "mode": mode, "max_new_tokens": 64, "groups": {"all": metrics}}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (entry("reasoning", thinks=1.0), []),
        (entry("reasoning", thinks=0.96), []),
        (entry("reasoning", thinks=0.9), ["mode collapse: 10.0% of the answers in reasoning mode have no thinking"]),
        (entry("non_reasoning", thinks=0.04), []),
        (entry("non_reasoning", thinks=0.2), ["mode collapse: 20.0% of the answers in non-reasoning mode think"]),
        (entry("reasoning", thinks=1.0, truncated=0.1), ["truncation: 10.0% of the answers ran out of tokens (64)"]),
        (entry("reasoning", thinks=1.0, looping=0.03), ["degeneration: 3.0% of the answers go in circles"]),
    ],
)
def test_what_somebody_should_look_at_is_said_by_its_name(result: dict[str, Any], said: list[str]) -> None:
    assert findings(result) == said


def recipe(*decodings: Decoding, budgets: list[int | None]) -> EvalRecipe:
    model = ModelSection(path="m")
    return EvalRecipe(run="r", label="l", model=model, decodings=list(decodings), thinking_budgets=budgets)


THINKS = Decoding(name="thinks", mode="reasoning", temperature=0, max_new_tokens=64)
CAPPED = Decoding(name="capped", mode="reasoning", temperature=0, max_new_tokens=64, thinking_budget=5)
DIRECT = Decoding(name="direct", mode="non_reasoning", temperature=0, max_new_tokens=64)


def test_budgets_are_tried_by_reasoning_decodings_that_have_none_of_their_own() -> None:
    swept = all_decodings(recipe(THINKS, CAPPED, DIRECT, budgets=[16, None]))
    assert [(one.name, one.thinking_budget) for one in swept] == [
        ("thinks, budget 16", 16),
        ("thinks", None),
        ("capped", 5),
        ("direct", None),
    ]


def test_name_that_a_budget_gives_may_not_be_taken() -> None:
    taken = replace(DIRECT, name="thinks, budget 16")
    with pytest.raises(UserError, match="make a decoding 'thinks, budget 16' beside one of that name"):
        all_decodings(recipe(THINKS, taken, budgets=[16]))


def test_without_budgets_the_decodings_are_as_they_are() -> None:
    assert all_decodings(recipe(THINKS, DIRECT, budgets=[])) == [THINKS, DIRECT]
    assert budget_curves([measured("thinks", None)], recipe(THINKS, budgets=[])) == []


def measured(name: str, budget: int | None) -> dict[str, Any]:
    metrics = dict.fromkeys(("accuracy", "thinking_tokens", "answer_tokens", "budget_reached"))
    return {"name": name, "thinking_budget": budget, "groups": {"all": metrics}}


def test_curve_goes_from_the_smallest_budget_to_none_and_skips_what_is_not_measured_yet() -> None:
    results = [measured("thinks", None), measured("thinks, budget 32", 32), measured("thinks, budget 4", 4)]
    (curve,) = budget_curves(results, recipe(THINKS, DIRECT, budgets=[None, 32, 16, 4]))
    assert curve["decoding"] == "thinks"
    assert [point["thinking_budget"] for point in curve["points"]] == [4, 32, None]


def test_one_benchmark_with_one_sample_needs_no_second_table() -> None:
    one = {"name": "a", "groups": {"all": {}}, "benchmarks": {"data": {}}}
    assert benchmarks_table([one]) is None
