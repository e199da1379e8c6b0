"""Plugins: a recipe names an object as `package.module:object`, ours or from any importable package."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from posttrain.errors import UserError, did_you_mean


def load_object(use: str, where: str) -> Any:
    """Import the object that `use` names; a module in the working directory is found too.

    Args:
        use: `package.module:object`.
        where: the key in the recipe, for errors: "rewards.0.use".

    Raises:
        UserError: the name has another form, or there is no such module, package it needs, or object.
    """
    module_name, colon, name = use.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise UserError(f"{where}: got {use!r}, need package.module:object")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            near = did_you_mean(error.name.rpartition(".")[2], _siblings(error.name))
            problem = f"there is no module {error.name!r}{near}; install its package or put it into {folder}"
        else:
            problem = f"{module_name} needs the module {error.name!r}, which is not installed; install its package"
        raise UserError(f"{where}: got {use!r}, but {problem}") from error
    if not hasattr(module, name):
        near = did_you_mean(name, (known for known in dir(module) if not known.startswith("_")))
        raise UserError(f"{where}: {module.__file__} has no {name!r}{near or '; need a name it defines'}")
    return getattr(module, name)


def build(use: str, args: Mapping[str, Any], where: str) -> Any:
    """The plugin itself: a class is called with `args`, anything else callable is taken as it is.

    Args:
        use: `package.module:object`.
        args: the arguments of a class; empty for a plain function, which has no knobs.
        where: the section in the recipe, for errors: "rewards.0".

    Raises:
        UserError: as in `load_object`, or `args` that the object does not take, or an object that cannot be called.
    """
    plugin = load_object(use, f"{where}.use")
    if isinstance(plugin, type):
        return call(plugin, use, args, f"{where}.args")
    if not callable(plugin):
        raise UserError(f"{where}.use: {use} is a {type(plugin).__name__}, need a function or a class")
    if args:
        raise UserError(
            f"{where}.args: got {', '.join(args)}, but {use} is a plain function and has no settings; "
            "leave args out or name a class"
        )
    return plugin


def call(plugin: Callable[..., Any], use: str, args: Mapping[str, Any], where: str) -> Any:
    """What a class or a function makes of the recipe's arguments.

    Args:
        plugin: what `use` names.
        use: `package.module:object`, for errors.
        args: by name.
        where: their place in the recipe, for errors: "rewards.0.args".

    Raises:
        UserError: there is no such argument, one is missing, or the plugin refuses a value.
    """
    check_arguments(plugin, use, args, where)
    try:
        return plugin(**args)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {use} refuses them: {error}") from error


def check_arguments(plugin: Callable[..., Any], use: str, args: Mapping[str, Any], where: str) -> None:
    """Whether the plugin takes arguments of these names; it is not called.

    Raises:
        UserError: there is no such argument, or one is missing.
    """
    signature = inspect.signature(plugin)
    try:
        signature.bind(**args)
    except TypeError as error:
        unknown = next((key for key in args if key not in signature.parameters), None)
        near = "" if unknown is None else did_you_mean(unknown, signature.parameters)
        raise UserError(f"{where}: {error}{near}; {use} takes {signature}") from error


def _siblings(module_name: str) -> list[str]:
    """The modules beside one that does not exist, where its package does."""
    package = sys.modules.get(module_name.rpartition(".")[0])
    return [module.name for module in pkgutil.iter_modules(getattr(package, "__path__", []))] if package else []
