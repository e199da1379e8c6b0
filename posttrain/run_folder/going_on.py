"""Where a resumed run goes on: the newest whole checkpoint, and whether it is this run's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.run_folder.checkpoints import CheckpointFolder
from posttrain.run_folder.seals import read_seal


class GoingOn(NamedTuple):
    """What a resumed run starts with.

    Attributes:
        checkpoint: None: it begins again.
        notices: what there is to say about it, line by line.
        differences: what speaks against it.
    """

    checkpoint: Path | None
    notices: list[str]
    differences: list[str]


def find_checkpoint(folder: Path, facts: Mapping[str, Any]) -> GoingOn:
    """The newest whole checkpoint in a folder; damaged ones on the way get another name.

    Args:
        folder: that of all checkpoints.
        facts: what the manifest of a checkpoint would say now.
    """
    found = CheckpointFolder(folder).newest()
    if found.path is None:
        against = [f"no checkpoint in {folder} is whole: {each}" for each in found.broken]
        return GoingOn(None, [*found.broken, "there is no whole checkpoint: beginning again"], against)
    sealed = read_seal(found.path)
    before, after = sealed.get("versions", {}), facts["versions"]
    changed = [f"{name} was {before[name]}, is {after.get(name)}" for name in before if before[name] != after.get(name)]
    notices = [*found.broken, *changed, f"going on from {found.path.name}"]
    return GoingOn(found.path, notices, [f"{found.path}: {each}" for each in _differences(sealed, facts)])


def _differences(sealed: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what the run that wrote a checkpoint is another than the one that is to go on from it."""
    made_from = {"recipe": "recipe", "data": "data", "template": "chat template"}
    changed = [what for key, what in made_from.items() if sealed.get(f"{key}_sha256") != now[f"{key}_sha256"]]
    found = [f"it is of another {what}" for what in changed]
    if sealed["world_size"] != now["world_size"]:
        found.append(f"it is of a run with {sealed['world_size']} processes, this one has {now['world_size']}")
    if sealed.get("sharding") != now["sharding"]:
        found.append(f"its state was kept by {sealed.get('sharding')}, here it is by {now['sharding']}")
    return found
