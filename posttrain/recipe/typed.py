"""Plain YAML values into structured configs, every error with its full key path, through lists too.

OmegaConf converts and checks the single values; it loses the path inside lists, so the walk is ours.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from posttrain.errors import UserError, did_you_mean
from posttrain.recipe.sections import EngineSection

TYPES_IN_WORDS = {str: "text", int: "a whole number", float: "a number", list: "a list", dict: "a section"}
VALUES_IN_YAML = {None: "null", True: "true", False: "false"}


def typed(cls: type[Any], section: Mapping[Any, Any], where: str, path: str = "") -> DictConfig:
    """`section` as a structured config of the dataclass `cls`.

    What is not given stays missing, `${...}` stays as it is.

    Args:
        cls: a dataclass of the schema.
        section: plain dicts, lists and values.
        where: what an error starts with: the file or the override.
        path: the section's own key path, with a dot at its end; empty for the whole recipe.

    Raises:
        UserError: an unknown key or a value of the wrong type.
    """
    hints = get_type_hints(cls)
    for key in section:
        if key not in hints:
            near = _place_of(key, hints, path) or did_you_mean(key, hints, prefix=path)
            raise UserError(f"{where}unknown key {f'{path}{key}'!r}{near}; known here: {', '.join(hints)}")
    config: DictConfig = OmegaConf.structured(cls)
    OmegaConf.set_readonly(config, False)  # OmegaConf sets it for a frozen dataclass
    for item in fields(cls):
        hint = hints[item.name]
        if item.name in section or _is_needed_section(item, hint):
            value = _converted(hint, section.get(item.name, {}), where, f"{path}{item.name}")
            try:
                OmegaConf.update(config, item.name, value, merge=False)
            except OmegaConfBaseException as error:
                raise _wrong_type(hint, value, where, f"{path}{item.name}") from error
    return config


def _place_of(key: str, hints: Mapping[str, Any], path: str) -> str:
    """Where a key belongs that was given without its section; empty when no section of these has it."""
    for name, hint in hints.items():
        for option in (hint, *get_args(hint)):
            if is_dataclass(option) and get_origin(hint) is not list and key in {item.name for item in fields(option)}:
                return f", did you mean {f'{path}{name}.{key}'!r}?"
    if "trainer" in hints and not did_you_mean(key, hints):
        return f"; if it is a setting of the trainer, write {f'{path}trainer.{key}'!r}"
    return ""


def _converted(hint: Any, value: Any, where: str, path: str) -> Any:
    """`value` with its nested sections made structured configs."""
    section_class = next((option for option in (hint, *get_args(hint)) if is_dataclass(option)), None)
    is_list = get_origin(hint) is list
    if value is None or (isinstance(value, str) and "${" in value):
        return value
    if isinstance(value, bool) and hint in (str, str | None):  # YAML's `on` and `yes`; OmegaConf would write "True"
        raise _wrong_type(hint, value, where, path)
    if section_class is None:
        return value
    if is_list and isinstance(value, list):
        item_hint = get_args(hint)[0]
        return [_converted(item_hint, item, where, f"{path}.{index}") for index, item in enumerate(value)]
    if section_class is EngineSection and isinstance(value, str):  # `engine: vllm` is short for `engine: {name: vllm}`
        value = {"name": value}
    if is_list or not isinstance(value, dict):
        raise _wrong_type(hint, value, where, path)
    return typed(section_class, value, where, f"{path}.")  # type: ignore[arg-type]  # is_dataclass holds for instances too


def _is_needed_section(item: "Field[Any]", hint: Any) -> bool:
    """Whether an absent section is to be looked into, so that an error names the keys it lacks and not the section."""
    return is_dataclass(hint) and item.default is MISSING and item.default_factory is MISSING


def _wrong_type(hint: Any, value: Any, where: str, path: str) -> UserError:
    options = [hint, *get_args(hint)]
    choices = [choice for option in options if get_origin(option) is Literal for choice in get_args(option)]
    near = did_you_mean(value, choices) if isinstance(value, str) else ""
    is_container = isinstance(value, list | dict)
    got = TYPES_IN_WORDS[type(value)] if is_container else VALUES_IN_YAML.get(value, repr(value))
    return UserError(f"{where}{path}: got {got}{near}; need {_in_words(hint)}")


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is list:
        return f"a list, each entry {_in_words(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        has_lists = get_origin(get_args(hint)[1]) is list
        return "a section whose keys are text" + (", each value a list" if has_lists else "")
    if is_dataclass(hint):
        return f"a section ({', '.join(item.name for item in fields(hint))})"
    if NoneType in get_args(hint):
        return " or ".join([_in_words(option) for option in get_args(hint) if option is not NoneType] + ["null"])
    return TYPES_IN_WORDS[hint]
