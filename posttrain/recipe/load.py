"""From a recipe file and `key=value` overrides to a checked recipe, and back to YAML.

OmegaConf reads YAML 1.2 numbers (`1e-6` is one), refuses a key written twice and resolves `${...}`.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from posttrain.errors import UserError, did_you_mean
from posttrain.recipe.checks import check_values
from posttrain.recipe.secrets import refuse_secrets
from posttrain.recipe.stages import STAGES, AnyRecipe
from posttrain.recipe.typed import typed

T = TypeVar("T")


def load_recipe(path: Path | str, overrides: Sequence[str] = (), stage: str | None = None) -> AnyRecipe:
    """Read a recipe, apply the overrides (`section.key=value`, `list.0.key=value`), check everything.

    An override that gives a section (`trainer={...}`) is merged into it, one that gives a list replaces it.

    Args:
        path: the YAML file.
        overrides: applied in order, before `${...}` is resolved.
        stage: the stage the caller can run; None takes any.

    Raises:
        UserError: whatever is wrong with the file, a key, a value or an override.
    """
    path = Path(path)
    raw = _read(path)
    refuse_secrets(_plain(raw))
    cls = _stage_class(raw, path, stage)
    config = typed(cls, _plain(raw), where=f"{path}: ")
    for override in overrides:
        _apply(raw, override)
        config = typed(cls, _plain(raw), where=f"override {override!r}: ")
    recipe: AnyRecipe = _checked(config, where=" ".join([str(path), *overrides]), mend="add it to the file or pass")
    return recipe


def load_settings(cls: type[T], words: Sequence[str]) -> T:
    """A command's own settings from `key=value` words alone, read and checked as overrides of a recipe are.

    Args:
        cls: a dataclass like those of the schema.
        words: in the order of the command line.

    Raises:
        UserError: whatever is wrong with a key or a value.
    """
    raw = OmegaConf.create()
    config = typed(cls, {}, where="")
    for word in words:
        _apply(raw, word)
        config = typed(cls, _plain(raw), where=f"{word!r}: ")
    settings: T = _checked(config, where=" ".join(words) or "no settings", mend="pass")
    return settings


def resolved_yaml(recipe: AnyRecipe) -> str:
    """The recipe as YAML with every default and `${...}` written out; `load_recipe` reads it to an equal recipe."""
    return OmegaConf.to_yaml(OmegaConf.create(_escaped(asdict(recipe))))


def _checked(config: DictConfig, where: str, mend: str) -> Any:
    """The dataclass that `config` is typed as, once it is whole and every value will do."""
    try:
        if missing := sorted(_dots(key) for key in OmegaConf.missing_keys(config)):
            raise UserError(f"{where}: missing {', '.join(missing)}; {mend} {missing[0]}=...")
        loaded: Any = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        key = f"{_dots(error.full_key)}: " if error.full_key else ""
        raise UserError(f"{where}: {key}{_first_line(error)}") from error
    refuse_secrets(asdict(loaded))  # with what a `${...}` stands for
    try:
        check_values(loaded)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return loaded


def _read(path: Path) -> DictConfig:
    if path.is_dir():
        inside = ", ".join(sorted(other.name for other in path.glob("*.yaml"))) or "no YAML file"
        raise UserError(f"{path} is a folder (with {inside}); pass the path of a recipe")
    if not path.is_file():
        near = did_you_mean(path.name, (other.name for other in path.parent.glob("*.yaml")))
        raise UserError(f"{path}: no such recipe file{near or '; pass the path of a YAML file'}")
    try:
        config = OmegaConf.load(io.StringIO(path.read_text(encoding="utf-8")))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from error
    except (
        yaml.YAMLError,
        OmegaConfBaseException,
        OSError,
    ) as error:  # OSError: what OmegaConf raises for a bare number
        raise UserError(f"{path}: not a recipe ({_first_line(error)}); need `key: value` lines") from error
    if not isinstance(config, DictConfig):
        raise UserError(f"{path}: got a list, need `key: value` lines, the first `stage: ...`")
    if not config:
        raise UserError(f"{path}: the file is empty, need a recipe (`stage: ...` and the keys of that stage)")
    return config


def _stage_class(raw: DictConfig, path: Path, wanted: str | None) -> type[AnyRecipe]:
    content, known = _plain(raw), ", ".join(STAGES)
    if "stage" not in content:
        raise UserError(f"{path}: missing stage; need `stage:` with one of {known}")
    name = content["stage"]
    if name not in list(STAGES):  # a list, as the value may be unhashable
        raise UserError(f"{path}: stage: got {name!r}{did_you_mean(name, STAGES)}; need one of {known}")
    if wanted is not None and name != wanted:
        raise UserError(f"{path} is for stage {name}, the command is {wanted}: run `posttrain {name} {path}`")
    return STAGES[name]


def _apply(raw: DictConfig, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"override {override!r}: need section.key=value")
    try:
        value = _plain(OmegaConf.from_dotlist([f"value={text}"]))["value"]
        refuse_secrets({key: value})
        OmegaConf.update(raw, key, value)
    except yaml.YAMLError as error:
        raise UserError(f"override {override!r}: {text!r} is not valid YAML; put quotes around it") from error
    except (OmegaConfBaseException, TypeError) as error:  # TypeError: an index that is no number, a list for a section
        problem = f"{_first_line(error)}; need what fits the recipe at {key}"
        raise UserError(f"override {override!r}: {problem}") from error


def _plain(config: DictConfig) -> dict[Any, Any]:
    """The config as plain dicts and lists, `${...}` unresolved."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return plain


def _escaped(value: Any) -> Any:
    """`value` with every literal `${` written so that reading it again does not take it for an interpolation."""
    if isinstance(value, str):
        return value.replace("${", "\\${")
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value


def _dots(key: str) -> str:
    """OmegaConf's `sources[0].path` in the form overrides take."""
    return key.replace("[", ".").replace("]", "")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
