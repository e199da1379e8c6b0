"""Rows as other tools write them (ShareGPT, prompt and completion) brought into our own shape, `messages`."""

from typing import Any

from posttrain.data.unusable import parse_json

# `question` and `answer` are no such pair: under `answer` stands the gold that rewards compare with.
PROMPT_AND_COMPLETION = (("prompt", "completion"), ("instruction", "output"))
SHAREGPT_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "observation": "tool",
    "function_response": "tool",
}


def to_messages(row: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The row with `messages`, and what was converted, in a few words each.

    A column that went into the messages is no longer in the row. A row in no known shape comes back without `messages`.

    Raises:
        RowError: the shape is one of these, but broken.
    """
    row, converted = dict(row), []
    if row.get("messages") is None and (shape := _shape(row)):
        messages = _conversation(row.pop(*shape)) if len(shape) == 1 else _exchange(row, *shape)
        if system := row.pop("system", None):
            messages = [{"role": "system", "content": system}, *messages]
        row["messages"] = messages
        converted.append("ShareGPT" if len(shape) == 1 else " and ".join(shape))
    if isinstance(tools := row.get("tools"), str):
        row["tools"] = parse_json(tools, "broken tools", "`tools`") if tools.strip() else None
        converted.append("tools as text")
    return row, converted


def _shape(row: dict[str, Any]) -> tuple[str, ...] | None:
    """The columns that hold the conversation."""
    if isinstance(row.get("conversations"), list):
        return ("conversations",)
    pairs = (pair for pair in PROMPT_AND_COMPLETION if all(row.get(column) is not None for column in pair))
    return next(pairs, None)


def _conversation(turns: list[Any]) -> list[Any]:
    # Some write `role` and `content` under `conversations`: those are messages already.
    return [_turn(turn) if isinstance(turn, dict) and "from" in turn else turn for turn in turns]


def _turn(turn: dict[str, Any]) -> dict[str, Any]:
    speaker, value = str(turn["from"]), turn.get("value")
    if speaker == "function_call":
        calls = parse_json(value, "broken tool call", "a `function_call` turn")
        return {"role": "assistant", "content": "", "tool_calls": calls if isinstance(calls, list) else [calls]}
    return {"role": SHAREGPT_ROLES.get(speaker, speaker), "content": value}


def _exchange(row: dict[str, Any], first: str, second: str) -> list[Any]:
    """A question and its answer; either may be a list of messages already."""
    prompt, completion = row.pop(first), row.pop(second)
    if first == "instruction" and (context := row.pop("input", None)):
        prompt = f"{prompt}\n\n{context}"
    asked = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    said = completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]
    return [*asked, *said]
