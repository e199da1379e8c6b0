"""Start a stage again after a crash, as long as that gets it further."""

import json
import signal
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from posttrain.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, EXIT_USER_ERROR
from posttrain.run_folder.files import append_json_lines
from posttrain.supervisor.process_tree import adopt_orphans
from posttrain.supervisor.watch import Attempt, attempt

_NOT_CRASHES = (0, EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_PREEMPTED)
_INTERRUPTED = "it was interrupted"


def supervise(command: Sequence[str], folder: Path, *, restarts: int, hang_after_s: float) -> int:
    """Run the command until it ends without a crash, or another attempt is not worth it; its exit code.

    A crash is any end but exit codes 0, 2 (a user's mistake), 75 and 130 (asked to stop); so is a hang. The attempt
    after a crash has to get further than all before it, by the step of the heartbeat, to be followed by another one. No
    process of an attempt outlives it. Takes over the orphans of this process, so it should do nothing else.

    Args:
        command: what starts the stage; it has to go on where an earlier attempt ended.
        folder: the run's. `attempts.jsonl` there says how each one ended, `stacks-<n>.txt` what a hung one was at.
        restarts: at most so many.
        hang_after_s: seconds without a heartbeat that count as a hang.
    """
    adopt_orphans()
    furthest = -1
    for number in count(1):
        before, began = _manifest(folder), time.monotonic()
        ended = attempt(command, folder, hang_after_s)
        code = ended.exit_code if ended.exit_code >= 0 else 128 - ended.exit_code
        why_not = _why_not_again(ended, before, _manifest(folder), number, restarts, furthest)
        words = _words(ended)
        record = {
            "attempt": number,
            "ended": words,
            "step": ended.step,
            "seconds": round(time.monotonic() - began, 1),
            "again": why_not is None,
        }
        _note(folder, record, ended.stacks)
        if ended.left:
            _say(f"the system could not end processes {', '.join(map(str, ended.left))}")
        if ended.asked_to_stop:
        return "it was asked to stop"
    if ended.exit_code in _NOT_CRASHES and not ended.hung_s:
            return code
        if why_not is not None:
            _say(f"attempt {number} {words} at step {ended.step}; not started again: {why_not}")
            return EXIT_PREEMPTED if why_not == _INTERRUPTED else code
        _say(f"attempt {number} {words} at step {ended.step}; restart {number} of {restarts}")
        furthest = max(furthest, ended.step)
    raise AssertionError


def _why_not_again(ended: Attempt, before: Any, after: Any, number: int, restarts: int, furthest: int) -> str | None:
    """Why a crashed attempt is the last one; None: it is not."""
    if after != before:  # a launcher has exit codes of its own; what the stage says of itself is in its manifest
        if after.get("status") == "interrupted":
            return _INTERRUPTED
        if str(after.get("notes", {}).get("error", "")).startswith("UserError"):
            return "the mistake is in what it was given"
    if ended.asked_to_stop:
        return "it was asked to stop"
    if ended.exit_code in _NOT_CRASHES and not ended.hung_s:
        return "it did not crash"
    if number > restarts:
        return f"that was the last of {restarts} restarts" if restarts else "no restart was asked for (--restarts)"
    if ended.step <= furthest:
        return f"it got no further than step {furthest}, where an earlier one ended"
    return None


def _words(ended: Attempt) -> str:
    if ended.hung_s is not None:
        return f"hung, {ended.hung_s:.0f} s without a heartbeat,"
    if ended.exit_code < 0:
        return f"died by {signal.Signals(-ended.exit_code).name}"
    return f"ended with exit code {ended.exit_code}"


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest


def _note(folder: Path, record: dict[str, Any], stacks: str) -> None:
    if not (folder / "manifest.json").is_file():  # it never became a run
        return
    append_json_lines(folder / "attempts.jsonl", [record])
    if stacks:
        (folder / f"stacks-{record['attempt']}.txt").write_text(stacks, encoding="utf-8")


def _say(text: str) -> None:
    sys.stderr.write(f"supervisor: {text}\n")
    sys.stderr.flush()
