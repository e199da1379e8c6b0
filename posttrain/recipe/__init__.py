"""Recipes: YAML files, one dataclass per stage.

- `schema`: what a recipe of each stage may say (`context`: of that stage; `stages`: all of them)
- `sections`: what it consists of; `limits`: of single values
- `load`: from a file and `key=value` overrides to a checked recipe, and back to YAML
- `checks`: what a type cannot express
- `hub_path`: how a source names a data set of the Hugging Face hub
- `shipped`: where the recipes of the package are
- `config`: the free `trainer:` and `lora:` sections, handed to the config class of the library that owns them
"""

from posttrain.recipe.config import make_config
from posttrain.recipe.context import ContextRecipe, DocumentsSection, GateSection, LengthStage, RowsSection
from posttrain.recipe.hub_path import HubPath, parse_hub_path
from posttrain.recipe.load import load_recipe, load_settings, resolved_yaml
from posttrain.recipe.schema import (
    EvalRecipe,
    FilterRecipe,
    ModelRecipe,
    PairsRecipe,
    PrefRecipe,
    Recipe,
    ReportRecipe,
    RLRecipe,
    SamplingRecipe,
    SFTRecipe,
)
from posttrain.recipe.sections import (
    BenchmarkSpec,
    DataSection,
    Decoding,
    EngineSection,
    FilterDecoding,
    GradingSection,
    KeepSection,
    MixerSection,
    ModelSection,
    PairsSection,
    RejectedDraw,
    RejectedOrder,
    ReportStage,
    RewardSpec,
    SFTDataSection,
    ShapeSection,
    Source,
)
from posttrain.recipe.shipped import SHIPPED
from posttrain.recipe.stages import STAGES, AnyRecipe

__all__ = [
    "SHIPPED",
    "STAGES",
    "AnyRecipe",
    "BenchmarkSpec",
    "ContextRecipe",
    "DataSection",
    "Decoding",
    "DocumentsSection",
    "EngineSection",
    "EvalRecipe",
    "FilterDecoding",
    "FilterRecipe",
    "GateSection",
    "GradingSection",
    "HubPath",
    "KeepSection",
    "LengthStage",
    "MixerSection",
    "ModelRecipe",
    "ModelSection",
    "PairsRecipe",
    "PairsSection",
    "PrefRecipe",
    "RLRecipe",
    "Recipe",
    "RejectedDraw",
    "RejectedOrder",
    "ReportRecipe",
    "ReportStage",
    "RewardSpec",
    "RowsSection",
    "SFTDataSection",
    "SFTRecipe",
    "SamplingRecipe",
    "ShapeSection",
    "Source",
    "load_recipe",
    "load_settings",
    "make_config",
    "parse_hub_path",
    "resolved_yaml",
]
