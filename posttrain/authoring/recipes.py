"""`posttrain recipes FOLDER`: the recipes that come with the package, to be changed into one's own."""

import shutil
from pathlib import Path

from rich.markup import escape

from posttrain.errors import UserError
from posttrain.recipe import SHIPPED
from posttrain.terminal import say


def copy_recipes(folder: Path) -> None:
    """Copy them all, with their accelerate configurations, data and Slurm scripts.

    Raises:
        UserError: there is something in `folder`'s place, or nothing can be written there.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already; name a folder that does not, as posttrain recipes my-recipes")
    try:
        shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("__pycache__"))
    except (PermissionError, NotADirectoryError) as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); name another folder") from error
    models = sorted(path.parent.name for path in folder.glob("*/sft.yaml"))
    say(escape(f"wrote {folder}, with every stage for {', '.join(models)}. Next:"))
    say(escape(f"  posttrain check {folder / models[0] / 'sft.yaml'} --config-only"))
