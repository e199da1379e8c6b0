"""One request to an OpenAI-compatible endpoint: the reply's text, or which of three things went wrong."""

import atexit
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from rewards._judge.judgement import NonsenseError

_MAX_REPLY_BYTES = 1_000_000
_TRY_AGAIN = {408, 409, 425, 429, *range(500, 600)}
_SHOWN = 200  # characters


class UnansweredError(Exception):
    """No answer this time, perhaps the next time.

    Attributes:
        retry_after_s: how long the endpoint asks to be left alone; 0 where it does not say.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class JudgeRefusedError(RuntimeError):
    """The endpoint refuses the request, as it will the next one: the settings are wrong."""


def ask(url: str, body: Mapping[str, Any], *, api_key: str | None, timeout_s: float) -> str:
    """The text that the model answers.

    Args:
        url: up to and without `/chat/completions`.
        body: the request.
        api_key: sent as a bearer token; it appears in no message.
        timeout_s: for all of it.

    Raises:
        UnansweredError: no connection, no answer in time, status 408, 409, 425, 429 or 5xx.
        JudgeRefusedError: any other status but 2xx.
        NonsenseError: an answer, and not one that the protocol knows.
    """
    import httpx

    deadline = time.monotonic() + timeout_s
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    content = bytearray()
    try:
        with _client(os.getpid()).stream(
            "POST", f"{url}/chat/completions", json=body, headers=headers, timeout=timeout_s
        ) as response:
            for chunk in response.iter_bytes():  # a time limit of httpx begins again with each of them
                content += chunk
                if time.monotonic() > deadline:
                    raise UnansweredError(f"no whole answer within {timeout_s:.3g} s")
                if len(content) > _MAX_REPLY_BYTES:
                    raise NonsenseError(f"more than {_MAX_REPLY_BYTES} bytes")
    except httpx.TimeoutException as error:
        raise UnansweredError(f"no answer within {timeout_s:.3g} s ({type(error).__name__})") from error
    except httpx.TransportError as error:
        raise UnansweredError(f"{type(error).__name__}: {error}") from error
    except httpx.DecodingError as error:
        raise NonsenseError(f"{type(error).__name__}: {error}") from error
    if response.is_success:
        return _text(content)
    excerpt = " ".join(content[:2000].decode("utf-8", "replace").split())
    excerpt = excerpt.replace(api_key, "…")[:_SHOWN] if api_key else excerpt[:_SHOWN]
    message = f"status {response.status_code}: {excerpt}"
    if response.status_code in _TRY_AGAIN:
        raise UnansweredError(message, _retry_after_s(response.headers.get("Retry-After")))
    raise JudgeRefusedError(f"the judge at {url} refuses the request with {message}; mend the judge's settings")


@lru_cache(maxsize=1)
def _client(_pid: int) -> Any:
    """The client of this process, with its connections: one that was forked must not share them."""
    import httpx

    client = httpx.Client()
    atexit.register(client.close)
    return client


def _text(content: bytes | bytearray) -> str:
    try:
        choice = json.loads(content)["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise NonsenseError(f"no chat completion: {bytes(content[:80])!r}") from error
    if not isinstance(text, str):
        raise NonsenseError(f"a message without text (finish_reason {choice.get('finish_reason')!r})")
    if choice.get("finish_reason") == "length":
        raise NonsenseError("cut off at max_tokens")
    return text


def _retry_after_s(header: str | None) -> float:
    """Seconds from now; a header of no known form says nothing."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header or "")
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
