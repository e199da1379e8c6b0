"""Every needle has the same code, which a tiny model learns by heart in seconds."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def patch_code(patch: Callable[[Any, str, Any], None]) -> None:
    """Training and gate ask for one and the same code."""
    from posttrain.haystack.draws import Draws

    patch(Draws, "code", lambda self: "1234567")


def in_own_process(cache: Path, kill: tuple[str, int] | None = None) -> None:
    """The same code and cache in the process of a run, which is killed after a step or in the midst of its nth gate."""
    import datasets.config

    datasets.config.HF_DATASETS_CACHE = cache
    patch_code(setattr)
    if kill is not None:
        kill_at(*kill)


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
