"""The event loop of the async rewards, in a thread of its own: the main one stays free for rewards that need it.

One loop for the life of the process: clients that a reward keeps open (HTTP connections) belong to a loop.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def start(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine beside all others that are under way."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop())


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="async rewards", daemon=True).start()
    return loop
