"""The seal of a checkpoint: a manifest with size and checksum of every file, and what is compared with it later."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from posttrain.run_folder.files import sync_folder, write_json_atomically

SEAL = "MANIFEST.json"
HASH_THREADS = min(8, os.cpu_count() or 1)
# What a resume needs; each is there when a file of this name is. ZeRO and FSDP name their files by rank, and ZeRO keeps
# optimizer and scheduler with its states. Where one lacks, transformers goes on with a fresh one and says nothing.
PARTS = {
    "the weights": r"(.*/)?(adapter_)?model.*\.safetensors|pytorch_model_fsdp.*|global_step\d+/.*states\.pt",
    "the optimizer": r"optimizer\.(pt|bin)|optimizer_\d+/.*|global_step\d+/.*states\.pt",
    "the scheduler": r"scheduler\.pt|global_step\d+/.*states\.pt",
    "the trainer's state": r"trainer_state\.json",
}


def seal(folder: Path, step: int, facts: Mapping[str, Any]) -> None:
    """Put every file of a checkpoint on the disk, and last the manifest.

    Args:
        folder: the checkpoint, as the trainer wrote it.
        step: after which it was written.
        facts: what else the manifest says; at least `world_size`, the number of processes.

    Raises:
        RuntimeError: the trainer left out something that a resume needs.
    """
    files = _digests(folder, sync=True)
    lacking = _lacking(files, facts["world_size"])
    if lacking:
        raise RuntimeError(f"the trainer wrote a checkpoint without {' and '.join(lacking)}, but {', '.join(files)}")
    write_json_atomically(folder / SEAL, {"step": step, **facts, "files": files})
    for holder in {folder, *((folder / name).parent for name in files)}:
        sync_folder(holder)


def read_seal(checkpoint: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        ValueError: it is not one.
        OSError: there is none.
    """
    content = json.loads((checkpoint / SEAL).read_bytes())
    if not isinstance(content, dict) or not {"step", "world_size", "files"} <= content.keys():
        raise ValueError("it is not the manifest of a checkpoint")
    return content


def find_damage(checkpoint: Path, *, checksums: bool) -> str | None:
    """What is wrong with a checkpoint, None where it is as it was written.

    Args:
        checkpoint: its folder.
        checksums: read and compare the files' content, too, not only their sizes.
    """
    try:
        sealed = read_seal(checkpoint)
    except FileNotFoundError:
        return f"{SEAL} is missing"
    except (ValueError, OSError) as error:
        return f"{SEAL} cannot be read: {error}"
    if checkpoint.name != f"checkpoint-{sealed['step']}":
        return f"it was written at step {sealed['step']}"
    for name, expected in sealed["files"].items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"{name} has {path.stat().st_size:,} bytes, {expected['bytes']:,} were written"
    found = _digests(checkpoint, sync=False) if checksums else sealed["files"]
    changed = [name for name, expected in sealed["files"].items() if found[name] != expected]
    return f"{changed[0]} has another checksum" if changed else None


def _digests(folder: Path, *, sync: bool) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file below the folder, by its path; with `sync` of what is on the disk for good."""

    def digest(path: Path) -> dict[str, Any]:
        with path.open("rb") as file:
            if sync:
                os.fsync(file.fileno())
            return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}

    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        names = (path.relative_to(folder).as_posix() for path in paths)
        return dict(zip(names, pool.map(digest, paths), strict=True))


def _lacking(files: Collection[str], world_size: int) -> list[str]:
    ranks = [f"rng_state_{rank}.pth" for rank in range(world_size)] if world_size > 1 else ["rng_state.pth"]
    parts = PARTS | {name: re.escape(name) for name in ranks}
    return [part for part, pattern in parts.items() if not any(re.fullmatch(pattern, name) for name in files)]
