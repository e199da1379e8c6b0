"""The recipe of every stage, by the word in its `stage:`."""

from posttrain.recipe.context import ContextRecipe
from posttrain.recipe.schema import (
    EvalRecipe,
    FilterRecipe,
    ModelRecipe,
    PairsRecipe,
    PrefRecipe,
    ReportRecipe,
    RLRecipe,
    SFTRecipe,
)

AnyRecipe = (
    ModelRecipe
    | ContextRecipe
    | SFTRecipe
    | FilterRecipe
    | RLRecipe
    | PairsRecipe
    | PrefRecipe
    | EvalRecipe
    | ReportRecipe
)

STAGES: dict[str, type[AnyRecipe]] = {
    "model": ModelRecipe,
    "context": ContextRecipe,
    "sft": SFTRecipe,
    "filter": FilterRecipe,
    "rl": RLRecipe,
    "pairs": PairsRecipe,
    "pref": PrefRecipe,
    "eval": EvalRecipe,
    "report": ReportRecipe,
}
