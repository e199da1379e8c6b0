"""A call that waits for a vLLM engine is woken when the engine's process dies; the real death is in tests/faults."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from posttrain.inference.engine_death import death_is_told

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")


def get_output(core: Any) -> None:
    """As vLLM's `SyncMPClient.get_output`."""
    if isinstance(output := core.outputs_queue.get(timeout=60), Exception):
        raise output


def call_utility(core: Any) -> None:
    """As vLLM's `SyncMPClient.call_utility`."""
    core.utility_results[1] = Future()
    core.utility_results[1].result(timeout=60)


@pytest.mark.parametrize("wait", [get_output, call_utility])
def test_who_waits_is_told(wait: Callable[[Any], None]) -> None:
    resources = SimpleNamespace(engine_dead=False)
    core = SimpleNamespace(resources=resources, outputs_queue=queue.Queue(), utility_results={})
    threading.Timer(0.2, lambda: setattr(resources, "engine_dead", True)).start()
    with pytest.raises(RuntimeError, match=r"engine process has died; .*--resume"), death_is_told(core):
        wait(core)


def test_the_client_of_this_version_has_what_is_woken() -> None:
    import inspect

    from vllm.v1.engine.core_client import BackgroundResources, SyncMPClient

    source = inspect.getsource(SyncMPClient)
    assert "self.outputs_queue.get()" in source
    assert "self.utility_results[call_id] = future" in source
    assert "engine_dead" in BackgroundResources.__dataclass_fields__
