"""Whether a folder that is already there may be used: empty, unfinished and the same, or finished and the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from posttrain.errors import UserError
from posttrain.run_folder.manifest import Manifest, read_manifest, sha256_of


def find_unfinished(folder: Path) -> Manifest | None:
    """The manifest of the unfinished run in `folder`, None where a new run can begin.

    Raises:
        UserError: a finished run, files that are no run, or a file where the folder should be.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose another run=<folder>")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    inside = sorted(name for name in names if not name.endswith(".aside"))  # that is what a kill leaves of a write
    if inside in ([], ["manifest.json"]):  # the manifest alone: killed between the first two files it writes
        return None
    manifest = read_manifest(folder / "manifest.json")
    if manifest is None:
        raise UserError(f"{folder} is no run, but holds {inside[0]}; empty it or choose another run=<folder>")
    if manifest["status"] == "finished":
        raise UserError(f"{folder} is already finished; choose another run=<folder>, or pass --skip-finished")
    return manifest


def differences(folder: Path, old: Manifest, new: Manifest, recipe_yaml: str) -> list[str]:
    """In what the unfinished run in `folder` is another than the one that is to go on with it.

    Raises:
        UserError: its recipe cannot be read.
    """
    found = _recipe_differences(folder, recipe_yaml) + _data_differences(folder, old["data"], new["data"])
    if old["template_sha256"] != new["template_sha256"]:
        found.append(f"the chat template has changed since {folder} was made")
    return found


def is_finished(folder: Path | str, recipe_yaml: str) -> bool:
    """Whether the folder holds a finished run of this recipe.

    Raises:
        UserError: it holds a finished run of another recipe, or data it was made from has changed since.
    """
    folder = Path(folder)
    manifest = read_manifest(folder / "manifest.json")
    if manifest is None or manifest["status"] != "finished":
        return False
    present = {path: sha256_of(Path(path)) for path in manifest["data"] if Path(path).exists()}
    kept = {path: manifest["data"][path] for path in present}
    for difference in _recipe_differences(folder, recipe_yaml) + _data_differences(folder, kept, present):
        raise UserError(f"{difference}; put it back or choose another run=<folder>")
    return True


def first_difference(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The first of `key_differences`; None when they are equal."""
    return next(iter(key_differences(old, new, path)), None)


def key_differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Every place where two plain values differ: key path, old value, new value."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*new, *(key for key in old if key not in new)]
        pairs = [(f"{path}.{key}" if path else str(key), old.get(key), new.get(key)) for key in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(f"{path}.{index}", before, after) for index, (before, after) in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new and type(old) is type(new) else [(path, old, new)]
    return [found for place, before, after in pairs for found in key_differences(before, after, place)]


def _recipe_differences(folder: Path, recipe_yaml: str) -> list[str]:
    path = folder / "recipe.yaml"
    try:
        old_yaml = path.read_text(encoding="utf-8")
        found = key_differences(yaml.safe_load(old_yaml), yaml.safe_load(recipe_yaml))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read ({error}); choose another run=<folder>") from error
    return [f"{folder} was made with another recipe: {key} was {old!r} and is now {new!r}" for key, old, new in found]


def _data_differences(folder: Path, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changed = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]
    return [f"{path} has changed since {folder} was made from it" for path in changed]
