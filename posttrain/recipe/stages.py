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
    SFTRecipe
    | FilterRecipe
    | RLRecipe
    | PairsRecipe
    | PrefRecipe
    | ContextRecipe
    | EvalRecipe
    | ReportRecipe
    | ModelRecipe
)

STAGES: dict[str, type[AnyRecipe]] = {
    "sft": SFTRecipe,
    "filter": FilterRecipe,
    "rl": RLRecipe,
    "pairs": PairsRecipe,
    "pref": PrefRecipe,
    "context": ContextRecipe,
    "eval": EvalRecipe,
    "report": ReportRecipe,
    "model": ModelRecipe,
}
