"""What a model folder says of itself, read without the libraries that load it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain.errors import UserError


def require_model(folder: Path) -> None:
    """Check that there is a model.

    Raises:
        UserError: there is none.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"no model at '{folder}' (no config.json there); give the model folder of a run as --model")


def folder_dtype(folder: Path) -> Any:
    """The dtype that the folder says it is in, as `float32`, which it also is where the folder does not say."""
    config = read_json(folder / "config.json")
    return config.get("dtype") or config.get("torch_dtype") or "float32"


def folder_template(folder: Path) -> str | None:
    """The chat template, None if there is none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    return None if template is None else str(template)


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object; an empty one where there is no file."""
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
