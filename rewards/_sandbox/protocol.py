"""What is said to a sandbox and what is believed of what it says: plain values, of bounded size and depth."""

import json
import marshal
from typing import Any

from rewards._sandbox.runner import MAX_CHARACTERS, MAX_DEPTH

LONGEST_REPLY = MAX_CHARACTERS + 4096  # bytes, with what is around the value
_DEEPEST_REPLY = 2 * MAX_DEPTH + 4  # levels of JSON: an object with a list is one level of a value


def request(*words: Any) -> bytes:
    """A request as the runner reads it: marshalled, behind its length."""
    content = marshal.dumps(words)
    return framed(content)


def framed(content: bytes) -> bytes:
    """Bytes behind their length."""
    return len(content).to_bytes(4, "little") + content


def decode(line: bytes) -> list[Any]:
    """A reply: its kind, and what belongs to it.

    Raises:
        ValueError: it is none.
    """
    try:
        reply = json.loads(line)
        if not (isinstance(reply, list) and reply and isinstance(reply[0], str)):
            raise ValueError("a reply is a list that begins with its kind")
        return [_plain(item, 1) for item in reply]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"not a reply: {type(error).__name__}: {error}") from error


def _plain(value: Any, depth: int) -> Any:
    """The Python value that the runner's JSON stands for."""
    if depth > _DEEPEST_REPLY:
        raise ValueError("nested too deep")
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "i":
        return int(content, 16)
    items = [_plain(item, depth + 1) for item in content]
    if kind == "d":
        return dict(items)
    return {"t": tuple, "s": set}[kind](items)
