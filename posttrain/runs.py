"""A run's folder: started, written to, left as finished, interrupted or failed, and taken up again."""

import fcntl
import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import yaml

from posttrain.errors import UserError
from posttrain.run_folder.files import (
    append_json_lines,
    json_safe,
    keep_steps,
    require_writable,
    write_json_atomically,
    write_text_atomically,
    written_aside,
)
from posttrain.run_folder.going_on import GoingOn, find_checkpoint
from posttrain.run_folder.heartbeat import write_beat
from posttrain.run_folder.manifest import (
    Manifest,
    git_revision,
    installed_versions,
    new_manifest,
    now,
    sha256_of_json,
)
from posttrain.run_folder.reuse import differences, find_unfinished, is_finished

__all__ = [
    "GoingOn",
    "Resume",
    "Run",
    "append_json_lines",
    "checkpoints_of",
    "find_unfinished",
    "is_finished",
    "json_safe",
    "require_writable",
    "write_json_atomically",
    "write_text_atomically",
    "written_aside",
]


# Whether an unfinished run is gone on with: only if it is the same run, or "anyway".
Resume = bool | Literal["anyway"]


def checkpoints_of(folder: Path | str) -> Path:
    """Where the trainer of the run in `folder` puts its checkpoints."""
    return Path(folder) / "checkpoints"


class Run:
    """One run and its folder. Use it as a context manager: how the block is left is how the run's status reads.

    Only the main process writes; in the others every method that writes does nothing.

    Attributes:
        folder: the run's folder, with `recipe.yaml`, `manifest.json`, `metrics.jsonl` and `samples.jsonl`.
        checkpoints: where the trainer puts `checkpoint-<step>` folders.
        model_dir: where the stage puts its final model.
        is_main: whether this process writes.
    """

    def __init__(self, folder: Path, manifest: Manifest | None) -> None:
        self.folder = folder
        self.checkpoints = checkpoints_of(folder)
        self.model_dir = folder / "model"
        self.is_main = manifest is not None
        self._manifest = manifest
        self._began = time.monotonic()  # seconds; moved back by what earlier attempts took
        self._unlock: Callable[[], object] = lambda: None
        self._recipe_yaml = ""
        self._in_spite_of_differences = False
        self._is_taken_up = False

    @classmethod
    def start(
        cls,
        folder: Path | str,
        stage: str,
        recipe_yaml: str,
        seed: int,
        data_files: Sequence[Path],
        template: str | None,
        resume: Resume,
        is_main: bool | None = None,
    ) -> Self:
        """Begin a run in an empty or absent folder, or go on with an unfinished one.

        Args:
            folder: the run's folder.
            stage: sft, rl, ...
            recipe_yaml: the resolved recipe.
            seed: for the manifest.
            data_files: files (or folders) whose content decides the run; their hashes are kept.
            template: the text of the chat template, where the stage has one.
            resume: go on with an unfinished run of the same recipe, data and template, or with any if "anyway"; an
                empty folder just starts.
            is_main: whether this process writes; None: the environment's RANK is 0 or absent.

        Raises:
            UserError: the folder is used and cannot be taken up again or written to, or a data file is missing.
        """
        folder = Path(folder)
        if not (os.environ.get("RANK", "0") == "0" if is_main is None else is_main):
            return cls(folder, None)
        old = find_unfinished(folder)
        new = new_manifest(stage, seed, data_files, template)
        changed = [] if old is None else differences(folder, old, new, recipe_yaml)
        if changed and resume != "anyway":
            raise UserError(_refusal(changed))
        if old is not None and not resume:
            status = old["status"]
            raise UserError(f"{folder} holds a run that is {status}; pass --resume, or choose another run=<folder>")
        require_writable(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if old is not None:
            old |= {"data": new["data"], "template_sha256": new["template_sha256"]}
        run = cls(folder, old or new)
        run._lock()
        run._in_spite_of_differences = resume == "anyway"
        run._is_taken_up = old is not None
        run._begin(recipe_yaml, despite=changed)
        return run

    @property
    def inputs(self) -> Mapping[str, str]:
        """The SHA-256 of each file and folder that decides the run, by its path; none where this does not write."""
        return {} if self._manifest is None else self._manifest["data"]

    def beat(self, step: int) -> None:
        """A sign of life for who watches the folder; `step` grows with the work: optimizer steps, chunks, answers."""
        if self.is_main:
            write_beat(self.folder, step)

    def append_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line to `metrics.jsonl`; a value that is not finite becomes null."""
        if self.is_main:
            record = {"step": step, "time": round(self._seconds(), 3), **values}
            append_json_lines(self.folder / "metrics.jsonl", [record])

    def append_samples(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add a line a record to `samples.jsonl`."""
        if self.is_main:
            append_json_lines(self.folder / "samples.jsonl", records)

    def note(self, notes: Mapping[str, Any]) -> None:
        """Add to the manifest's notes at once, so that they are there however the run ends."""
        if self._manifest is not None:
            self._manifest["notes"] |= notes
            self._write_manifest()

    def truncate_metrics(self, after_step: int) -> None:
        """Drop what later steps wrote, which a run going on from a checkpoint writes again.

        Metrics and culprits of a step are of its update, its samples are what was sampled after it.
        """
        if self.is_main:
            keep_steps(self.folder / "metrics.jsonl", after_step)
            keep_steps(self.folder / "culprits.jsonl", after_step)
            keep_steps(self.folder / "samples.jsonl", after_step - 1)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint's manifest says of the run that wrote it; nothing where this does not write."""
        if self._manifest is None:
            return {}
        return {
            "recipe_sha256": sha256_of_json(yaml.safe_load(self._recipe_yaml)),
            "data_sha256": sha256_of_json(self._manifest["data"]),
            "template_sha256": self._manifest["template_sha256"],
            "versions": installed_versions(),
        }

    def choose_checkpoint(self, layout: dict[str, Any]) -> GoingOn:
        """The newest whole checkpoint; damaged ones on the way get another name. For the main process.

        A run that begins has none, and nothing to say of that.

        Args:
            layout: how the state is shared out now: `world_size` and `sharding`.

        Raises:
            UserError: the checkpoint is of another run, or checkpoints exist and none is whole; not when it goes on
                anyway.
        """
        if not self._is_taken_up:
            return GoingOn(None, [], [])
        found = find_checkpoint(self.checkpoints, self.facts() | layout)
        self._accept(found.differences)
        return found

    def finish(self, notes: Mapping[str, Any] | None = None) -> None:
        """Record that the run is complete, with what the stage wants to be remembered."""
        self._close("finished", notes or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            if self._manifest is not None and self._manifest["status"] == "running":
                self.finish()
        else:
            with suppress(OSError):  # a full disk may be the error itself; it is what the user must see
                if isinstance(error, KeyboardInterrupt):
                    self._close("interrupted", {})
                else:
                    self._close("failed", {"error": f"{type(error).__name__}: {error}"})
        self._unlock()

    def _begin(self, recipe_yaml: str, *, despite: list[str]) -> None:
        assert self._manifest is not None
        self._recipe_yaml = recipe_yaml
        if self._is_taken_up:
            again = {"at": now(), "git_revision": git_revision(), "versions": installed_versions()}
            self._manifest["resumed"].append(again | ({"despite": despite} if despite else {}))
            self._manifest["notes"].pop("error", None)
            last_time = keep_steps(self.folder / "metrics.jsonl")
            keep_steps(self.folder / "samples.jsonl")
            self._began -= max(last_time, self._manifest["seconds"])
        self._manifest["status"] = "running"
        self._manifest["finished"] = None
        self._write_manifest()
        write_text_atomically(self.folder / "recipe.yaml", recipe_yaml)

    def _accept(self, changed: Sequence[str]) -> None:
        """Go on in spite of differences, or refuse to; one that was accepted once is accepted for good."""
        assert self._manifest is not None
        accepted = {each for entry in self._manifest["resumed"] for each in entry.get("despite", [])}
        unheard = [each for each in changed if each not in accepted]
        if unheard and not self._in_spite_of_differences:
            raise UserError(_refusal(unheard))
        if unheard:
            self._manifest["resumed"][-1].setdefault("despite", []).extend(unheard)
            self._write_manifest()

    def _close(self, status: str, notes: Mapping[str, Any]) -> None:
        if self._manifest is not None:
            self._manifest["status"] = status
            self._manifest["finished"] = now()
            self._manifest["seconds"] = round(self._seconds(), 3)
            self._manifest["notes"] |= notes
            self._write_manifest()

    def _write_manifest(self) -> None:
        write_json_atomically(self.folder / "manifest.json", self._manifest)

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _lock(self) -> None:
        """Refuse a folder that another process is writing to; the system frees the lock when a process dies."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        self._unlock = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            problem = f"{self.folder} is in use by another process"
            raise UserError(f"{problem}; wait for it or choose another run=<folder>") from error
        except OSError:  # a file system without locks
            return


def _refusal(changed: Sequence[str]) -> str:
    return f"{'; '.join(changed)}; put it back, choose another run=<folder>, or go on all the same with --resume-anyway"
