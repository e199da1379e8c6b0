"""Checks shapes and dtypes of every call at run time, here only: training does not pay for it."""

import importlib
import inspect

from beartype import BeartypeConf, beartype
from jaxtyping import jaxtyped

import posttrain.objectives

MODULES = ["advantages", "agapo", "kl", "log_probs", "simper"]
typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a fine float

for name in MODULES:
    module = importlib.import_module(f"posttrain.objectives.{name}")
    for function_name, function in inspect.getmembers(module, inspect.isfunction):
        if function_name in posttrain.objectives.__all__ and function.__module__ == module.__name__:
            checked = jaxtyped(typechecker=typechecker)(function)
            setattr(module, function_name, checked)
            setattr(posttrain.objectives, function_name, checked)
