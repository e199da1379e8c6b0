"""A sweep over thinking budgets: what accuracy costs in tokens."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from posttrain.errors import UserError
from posttrain.recipe import Decoding, EvalRecipe

Entry = dict[str, Any]


def all_decodings(recipe: EvalRecipe) -> list[Decoding]:
    """The recipe's decodings; with `thinking_budgets` each reasoning one without a budget of its own for each of them.

    Without a limit (null) it keeps its name.

    Raises:
        UserError: a name that this gives is that of another decoding.
    """
    decodings = [each for decoding in recipe.decodings for each in _swept(decoding, recipe.thinking_budgets)]
    names = [decoding.name for decoding in decodings]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"thinking_budgets make a decoding {name!r} beside one of that name; rename that one")
    return decodings


def budget_curves(results: Sequence[Entry], recipe: EvalRecipe) -> list[dict[str, Any]]:
    """Accuracy against thinking tokens, one curve for each decoding that was swept, from the smallest budget to none.

    Args:
        results: entries of `eval.json`, those of some decodings may still be missing.
        recipe: whose decodings they are.
    """
    measured = {entry["name"]: entry for entry in results}
    curves = []
    for decoding in recipe.decodings:
        swept = [each for each in _swept(decoding, recipe.thinking_budgets) if each.name in measured]
        if len(swept) > 1:
            swept.sort(key=lambda each: (each.thinking_budget is None, each.thinking_budget or 0))
            points = [_point(measured[each.name]) for each in swept]
            curves.append({"decoding": decoding.name, "points": points})
    return curves


def _swept(decoding: Decoding, budgets: Sequence[int | None]) -> list[Decoding]:
    if not budgets or decoding.mode != "reasoning" or decoding.thinking_budget is not None:
        return [decoding]
    named = {budget: f"{decoding.name}, budget {budget}" if budget is not None else decoding.name for budget in budgets}
    return [replace(decoding, name=name, thinking_budget=budget) for budget, name in named.items()]


def _point(entry: Entry) -> dict[str, Any]:
    metrics = entry["groups"]["all"]
    shown = {key: metrics[key] for key in ("accuracy", "thinking_tokens", "answer_tokens", "budget_reached")}
    return {"decoding": entry["name"], "thinking_budget": entry["thinking_budget"], **shown}
