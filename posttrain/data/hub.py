"""Data sets of the Hugging Face hub, exactly at the commit that the recipe pins."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from posttrain.data.files import from_columns
from posttrain.errors import UserError
from posttrain.recipe import HubPath


@lru_cache
def load_hub_dataset(path: HubPath, config: str | None, split: str) -> Any:
    """The `datasets.Dataset`, downloaded unless the cache of `datasets` has it.

    Raises:
        UserError: it cannot be loaded, or what was loaded is another commit.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    wanted = f"hub data set '{path.name}' at {path.revision}"
    try:
        dataset = load_dataset(path.name, config, revision=path.revision, split=split)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        problem = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{wanted} cannot be loaded ({problem}); check its name, config, split and the network"
        ) from error
    # Without a network `load_dataset` takes whatever commit it finds in its cache and says so in a warning only.
    if not all(path.revision in file.parts for file in _files(dataset)):
        raise UserError(f"{wanted} is not in the cache and cannot be downloaded: only another commit is there")
    return dataset


def hub_files(path: HubPath, config: str | None, split: str) -> list[Path]:
    """The Arrow files of the cache that hold the data set."""
    return _files(load_hub_dataset(path, config, split))


def hub_rows(path: HubPath, config: str | None, split: str) -> Iterator[dict[str, Any]]:
    """The rows in the order of the data set."""
    yield from map(from_columns, load_hub_dataset(path, config, split))


def _files(dataset: Any) -> list[Path]:
    return [Path(file["filename"]) for file in dataset.cache_files]
