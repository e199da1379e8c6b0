"""Find the stages of a report in folders: one run's, or those that have the runs of a pipeline right below them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from posttrain.errors import UserError
from posttrain.report.evaluation import Row
from posttrain.report.load import StageRun, load_stage, read_object


class _Found(NamedTuple):
    folder: Path
    pipeline: str  # the folder that was named; empty for a run that was named itself
    manifest: Row
    recipe: Row


def find_stages(folders: Sequence[Path]) -> list[StageRun]:
    """The stages in `folders`, each with the evaluation of its model, in the order in which they were started.

    A folder is a run's, or has runs right below it: a pipeline, or a context run with its stages. Runs that are named
    themselves are one pipeline together. An evaluation whose model no run here made, and a second one of a model,
    stands for itself.

    Raises:
        UserError: a folder is not there or has no run; or as in `load_stage`.
    """
    found = list({run.folder: run for folder in folders for run in _runs_in(folder)}.values())
    pipelines = list(dict.fromkeys(run.pipeline for run in found))
    found.sort(key=lambda run: (pipelines.index(run.pipeline), str(run.manifest.get("started"))))
    evaluations: dict[Path, Path] = {}
    for run in found:
        if run.manifest.get("stage") == "eval" and (run.folder / "eval.json").is_file():
            trained = next((each.folder for each in found if _is_of(run, each)), None)
            if trained is not None:
                evaluations.setdefault(trained, run.folder)
    shown = [run for run in found if run.folder not in evaluations.values()]
    names = _names([run.folder for run in shown])
    stages = []
    for run, name in zip(shown, names, strict=True):
        place = run.folder.name if run.pipeline else str(run.manifest.get("stage"))
        stage = load_stage(name, run.folder, evaluations.get(run.folder))
        stages.append(replace(stage, pipeline=run.pipeline, place=place))
    return stages


def _runs_in(folder: Path) -> list[_Found]:
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; name a run folder, or one that has run folders below it")
    folder = folder.resolve()
    runs = [_read(path, str(folder)) for path in sorted(folder.iterdir()) if _is_run(path)]
    if not runs and _is_run(folder):
        return [_read(folder, "")]
    if not runs:
        raise UserError(
            f"{folder} has no run: neither it nor a folder right below it has manifest.json and recipe.yaml; "
            "name a run folder, or one that has run folders below it"
        )
    return runs


def _is_run(folder: Path) -> bool:
    return (folder / "manifest.json").is_file() and (folder / "recipe.yaml").is_file()


def _read(folder: Path, pipeline: str) -> _Found:
    try:
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{folder / 'recipe.yaml'} is not YAML ({error}); run its stage again") from error
    return _Found(folder, pipeline, read_object(folder / "manifest.json"), recipe if isinstance(recipe, dict) else {})


def _is_of(evaluation: _Found, run: _Found) -> bool:
    """Whether the evaluated model is the run's; by the recipes' words, as the folders may have been moved since."""
    section: Any = evaluation.recipe.get("model")
    model = section.get("path") if isinstance(section, dict) else None
    if not isinstance(model, str) or evaluation.pipeline != run.pipeline:
        return False
    return os.path.normpath(model) == os.path.normpath(f"{run.recipe.get('run')}/model")


def _names(folders: Sequence[Path]) -> list[str]:
    """As few parts of each path, from its end, as tell them apart."""
    most = max(len(folder.parts) for folder in folders)
    tails = (["/".join(folder.parts[-length:]) for folder in folders] for length in range(1, most + 1))
    return next(names for names in tails if len(set(names)) == len(folders))
