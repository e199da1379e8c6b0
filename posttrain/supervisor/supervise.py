"""Start a stage again after a crash, as long as that gets it further."""

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, EXIT_USER_ERROR
from posttrain.run_folder.files import append_json_lines
from posttrain.supervisor.process_tree import adopt_orphans
from posttrain.supervisor.watch import Attempt, attempt


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
        after, seconds = _manifest(folder), round(time.monotonic() - began, 1)
        stop = _stop(ended, {} if after == before else after) or _no_sense(ended, number, restarts, furthest)
        words = _words(ended)
        record = {"attempt": number, "ended": words, "step": ended.step, "seconds": seconds, "again": stop is None}
        _note(folder, record, ended.stacks)
        if ended.left:
            _say(f"the system could not end processes {', '.join(map(str, ended.left))}")
        if stop is not None:
            if stop.why:
                _say(f"attempt {number} {words} at step {ended.step}; not started again: {stop.why}")
            return stop.exit_code
        _say(f"attempt {number} {words} at step {ended.step}; restart {number} of {restarts}")
        furthest = max(furthest, ended.step)
    raise AssertionError


class _Stop(NamedTuple):
    exit_code: int
    why: str = ""  # nothing where the stage has said it


def _stop(ended: Attempt, manifest: Mapping[str, Any]) -> _Stop | None:
    """Why an attempt that did not crash is the last one; None: it crashed.

    A launcher has exit codes of its own, so the stage's manifest is asked as well, where this attempt has written it.
    """
    if ended.hung_s is None and ended.exit_code in (0, EXIT_USER_ERROR, EXIT_PREEMPTED, EXIT_INTERRUPTED):
        return _Stop(ended.exit_code)
    if manifest.get("status") == "interrupted":
        return _Stop(EXIT_PREEMPTED, "it was interrupted")
    if str(manifest.get("notes", {}).get("error", "")).startswith("UserError"):
        return _Stop(EXIT_USER_ERROR, "the mistake is in what it was given")
    return None


def _no_sense(ended: Attempt, number: int, restarts: int, furthest: int) -> _Stop | None:
    """Why a crashed attempt is the last one; None: it is not."""
    code = ended.exit_code if ended.exit_code >= 0 else 128 - ended.exit_code
    if ended.asked_to_stop:
        return _Stop(code, "it was asked to stop")
    if number > restarts:
        return _Stop(code, f"that was the last of {restarts} restarts" if restarts else "--restarts is 0")
    if ended.step <= furthest:
        return _Stop(code, f"it got no further than step {furthest}, where an earlier one ended")
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
