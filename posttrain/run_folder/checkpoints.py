"""Checkpoints that are whole or absent: written aside, sealed, moved into place; damaged later, they are found out."""

import itertools
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.errors import UserError
from posttrain.run_folder.files import sync_folder
from posttrain.run_folder.seals import find_damage, seal

SPARE_SPACE = 1.2  # how many times the last checkpoint's size must be free for the next


class Found(NamedTuple):
    """The checkpoint to go on from, None where no whole one is left, and what is wrong with those passed over."""

    path: Path | None
    broken: list[str]


class CheckpointFolder:
    """The folders `checkpoint-<step>` of a run. All is for the main process but `aside` and `written`.

    Attributes:
        path: where they are.
        aside: where they are written and deleted. What a kill leaves here is nothing.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.aside = self.path / ".aside"

    def of_step(self, step: int) -> Path:
        """The checkpoint of a step."""
        return self.path / f"checkpoint-{step}"

    def all(self) -> list[Path]:
        """Every checkpoint, damaged or not, the oldest first."""
        names = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in self.path.glob("checkpoint-*"))
        return [self.of_step(step) for step in sorted(int(name[1]) for name in names if name)]

    def prepare(self, step: int) -> None:
        """Make ready to write the checkpoint of a step.

        Raises:
            UserError: the disk has less free space than it will take.
        """
        shutil.rmtree(self.aside, ignore_errors=True)
        self.aside.mkdir(parents=True)
        needed = SPARE_SPACE * sum(_size(path) for path in self.all()[-1:])
        if shutil.disk_usage(self.path).free < needed:
            raise UserError(f"checkpoint-{step} needs {_gigabytes(needed)} in {self.path}, {self._what_is_left()}")

    @contextmanager
    def written(self, step: int) -> Iterator[None]:
        """Inside, the checkpoint of a step is written. Of one that cannot be, nothing is left.

        Raises:
            UserError: the disk is full, or fails.
        """
        try:
            yield
        except Exception as error:
            shutil.rmtree(self.aside, ignore_errors=True)
            if not _is_of_the_disk(error):
                raise
            reason = str(error).splitlines()[0]
            problem = f"checkpoint-{step} could not be written to {self.path} ({type(error).__name__}: {reason})"
            raise UserError(f"{problem}, {self._what_is_left()}") from error

    def place(self, step: int, facts: Mapping[str, Any]) -> None:
        """Seal what was written aside and move it into place; `facts` as for `seal`."""
        aside, place = self.aside / f"checkpoint-{step}", self.of_step(step)
        seal(aside, step, facts)
        if place.exists():  # damaged, or of an attempt that is made again from an older one
            place.rename(self.aside / "replaced")
        aside.rename(place)
        sync_folder(self.path)
        shutil.rmtree(self.aside)

    def rotate(self, limit: int | None, kept: Collection[Path] = ()) -> None:
        """Delete whole checkpoints until `limit` of them are left, the oldest by step first.

        Args:
            limit: None or 0: all stay.
            kept: these stay however old they are.
        """
        whole = [path for path in self.all() if find_damage(path, checksums=False) is None]
        for path in whole[:-limit] if limit else []:
            if path not in kept:
                self._delete(path)

    def newest(self) -> Found:
        """The newest checkpoint that is as it was written; damaged ones on the way get another name."""
        shutil.rmtree(self.aside, ignore_errors=True)
        earlier = [f"{path.name} is broken" for path in sorted(self.path.glob("checkpoint-*.broken*"))]
        broken: list[str] = []
        for path in reversed(self.all()):
            damage = find_damage(path, checksums=True)
            if damage is None:
                return Found(path, broken)
            renamed = _unused(path.with_name(f"{path.name}.broken"))
            path.rename(renamed)
            broken.append(f"{path.name} is broken, {damage} (it is {renamed.name} now)")
        return Found(None, broken + earlier)

    def _delete(self, path: Path) -> None:
        self.aside.mkdir(exist_ok=True)
        path.rename(self.aside / path.name)  # a kill leaves no half of it in place
        shutil.rmtree(self.aside)

    def _what_is_left(self) -> str:
        free = f"{_gigabytes(shutil.disk_usage(self.path).free)} are free"
        last = self.all()[-1:]
        if not last:
            return f"{free}; no earlier checkpoint exists: make room, then begin again with --resume"
        return f"{free}; {last[0].name} is kept: make room, then go on from it with --resume"


def _is_of_the_disk(error: Exception) -> bool:
    """Whether a file could not be written; PyTorch and safetensors have their own words for it."""
    from safetensors import SafetensorError

    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in ("inline_container", "PytorchStreamWriter", "file write failed"))
    return isinstance(error, OSError | SafetensorError)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def _unused(path: Path) -> Path:
    further = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], further) if not each.exists())


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
