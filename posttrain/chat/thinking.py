"""Thinking as data sets write it down, brought to the one way the templates read: under `reasoning_content`."""

from collections.abc import Mapping
from typing import Any

from posttrain.chat.parse import CLOSE, OPEN
from posttrain.errors import UserError

OTHER_NAMES = ("reasoning", "thinking")  # what other servers and data sets call the field


def separate_thinking(message: Mapping[str, Any]) -> dict[str, Any]:
    """The assistant's message with its thinking apart from its answer.

    Thinking may stand in tags at the start of `content`, or under another name. Tags with nothing between them are
    no thinking. A message that has its thinking where it belongs comes back as it is.

    Raises:
        UserError: the tag at the start is never closed; or a closing tag stands where the model's own would be taken
            for it: in the thinking, or in an answer that opened none.
    """
    separated = dict(message)
    for name in OTHER_NAMES:
        if isinstance(separated.get(name), str) and not separated.get("reasoning_content"):
            separated["reasoning_content"] = separated.pop(name)
    content = separated.get("content") or ""
    if content.lstrip().startswith(OPEN) and not separated.get("reasoning_content"):
        thinking, tag, answer = content.lstrip().removeprefix(OPEN).partition(CLOSE)
        if not tag:
            raise UserError(f"{OPEN} at the start of an assistant turn is never closed; close it before the answer")
        separated["content"] = answer.strip()
        if thinking.strip():
            separated["reasoning_content"] = thinking.strip()
    for key in ("content", "reasoning_content"):
        if CLOSE in (separated.get(key) or ""):
            raise UserError(
                f"{CLOSE} stands in the `{key}` of an assistant turn, where it closes nothing; "
                "put all thinking between tags at the start of the turn, or under `reasoning_content`"
            )
    return separated
