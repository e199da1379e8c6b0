"""vLLM's engine process dies, and who waits for its answer is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def death_is_told(engine_core: Any) -> Iterator[None]:
    """Turn the death of the engine's process (killed, out of memory) into an error that says what is lost.

    vLLM notices the death, and refuses what is asked later; a call that waits for its answer by then waits for ever
    (0.32). It is woken here. An engine in this process has no death of its own.

    Args:
        engine_core: vLLM's client of its engine, `LLMEngine.engine_core`.

    Raises:
        RuntimeError: the process has died.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    is_over = threading.Event()
    if hasattr(engine_core, "outputs_queue"):
        threading.Thread(target=_wake, args=(engine_core, EngineDeadError, is_over), daemon=True).start()
    try:
        yield
    except EngineDeadError as error:
        raise RuntimeError(
            "vLLM's engine process has died; what it sampled of this batch is lost, what a stage wrote before is not: "
            "the same command with --resume goes on there"
        ) from error
    finally:
        is_over.set()


def _wake(engine_core: Any, error: type[Exception], is_over: threading.Event) -> None:
    while not is_over.wait(_SECONDS_BETWEEN_LOOKS):
        if not engine_core.resources.engine_dead:
            continue
        for answer in list(engine_core.utility_results.values()):
            if not answer.done():
                answer.set_exception(error())
        if engine_core.outputs_queue.empty():
            engine_core.outputs_queue.put_nowait(error())
