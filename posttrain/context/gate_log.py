"""`gate.jsonl`, the gate's history."""

import json
from pathlib import Path

from posttrain.context.gate import Gate
from posttrain.run_folder.files import append_json_lines, keep_steps

GATES = "gate.jsonl"


class GateLog:
    """The gates of one stage; only the main process writes."""

    def __init__(self, folder: Path, *, is_main: bool) -> None:
        self._path = folder / GATES
        self._is_main = is_main

    def read(self) -> list[Gate]:
        """All of them, in the order in which they were made; a line that a kill cut short is none."""
        if not self._path.is_file():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [Gate.of(json.loads(line)) for line in lines if line.endswith("\n")]

    def append(self, gate: Gate) -> None:
        """Add one."""
        if self._is_main:
            append_json_lines(self._path, [gate.record()])

    def truncate(self, after_step: int) -> None:
        """Drop the gates of later steps, which a run going on from a checkpoint makes again."""
        if self._is_main:
            keep_steps(self._path, after_step)
