"""The command line where every needle has the same code, which a tiny model learns by heart in seconds.

    python tests/context/same_code.py [kill=step:N|kill=gate:N] context RECIPE ...

`kill` ends the process as `kill -9` does: after step N, or in the middle of the N-th gate of this process.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def patch_code(patch: Callable[[Any, str, Any], None]) -> None:
    """Training and gate ask for one and the same code."""
    from posttrain.haystack.draws import Draws

    patch(Draws, "code", lambda self: "1234567")


def kill_at(what: str, number: int) -> None:
    """Be killed at step `number`, or while the `number`-th gate is asked."""
    from posttrain.context import watch

    if what == "step":
        on_step_end = watch.Watch.on_step_end

        def step(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == number:
                os.kill(os.getpid(), signal.SIGKILL)
            on_step_end(self, args, state, control, **more)

        watch.Watch.on_step_end = step
        return
    evaluate, asked = watch.evaluate, []

    def ask(*args: Any, **more: Any) -> Any:
        records = evaluate(*args, **more)
        asked.append(more["step"])
        if len(set(asked)) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return records

    watch.evaluate = ask


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from posttrain import cli
    from posttrain.environment import prepare_environment

    prepare_environment()
    patch_code(setattr)
    words = sys.argv[1:]
    if words[0].startswith("kill="):
        what, _, number = words.pop(0).removeprefix("kill=").partition(":")
        kill_at(what, int(number))
    raise SystemExit(cli.main(words))
