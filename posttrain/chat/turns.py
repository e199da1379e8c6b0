"""Whether a rendered conversation says what its messages say, and trains what the model says at inference."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from posttrain.chat.modes import Mode
from posttrain.chat.parse import leaves_thinking_open, parse_completion
from posttrain.chat.template import Message, render_history, render_prompt
from posttrain.errors import UserError
from rewards._call_text import Call, find_calls, read_calls

Span = tuple[int, int]  # start and end, in characters
Tools = Sequence[Mapping[str, Any]] | None
EXCERPT = 30  # characters shown on either side of where two texts part


class ContractError(UserError):
    """A template renders a conversation otherwise than it must; the message names the turn."""


def match_turns(
    tokenizer: Any, text: str, spans: Sequence[Span], messages: Sequence[Message], mode: Mode, tools: Tools = None
) -> dict[int, Span]:
    """Find the turn that each trained span is, and check that it is this turn and nothing else.

    Not every turn has to be trained; but what comes before a span is the prompt of its turn as it is at inference, and
    the span itself reads back as the turn's thinking, words and tool calls, with the end of the turn behind them.

    Args:
        tokenizer: with the chat template that rendered `text`.
        text: the whole conversation.
        spans: what is trained of it.
        messages: what was rendered.
        mode: of the conversation.
        tools: of the conversation.

    Returns:
        The index of the message -> its span.

    Raises:
        ContractError: names the first turn that is not rendered, or the turn of a span that is not as it must be.
        UserError: the template refuses a part of the conversation.
    """
    _require_rendered(text, messages, mode, tools)
    turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    matched: dict[int, Span] = {}
    for start, end in reversed(spans):
        prompts: dict[int, str] = {}
        while turns:
            index = turns.pop()
            prompts[index] = _prompt(tokenizer, text[:start], messages[:index], mode, tools)
            if prompts[index] == text[:start]:
                break
        else:
            raise _no_prompt(text, (start, end), prompts, messages, mode)
        is_open, is_last = leaves_thinking_open(prompts[index]), _is_in_last_response(messages, index)
        if problem := _misread(tokenizer.eos_token, text[start:end], messages[index], mode, is_open, is_last):
            raise fault(messages, index, mode, problem)
        matched[index] = (start, end)
    return matched


def fault(messages: Sequence[Message], index: int, mode: Mode, problem: str) -> ContractError:
    """The error about one message; turns are counted from 1 by the user's messages, messages from 0."""
    turn = max(1, sum(message["role"] == "user" for message in messages[: index + 1]))
    return ContractError(f"{mode}, turn {turn} (message {index}, {messages[index]['role']}): {problem}")


def part_at(rendered: str, needed: str) -> str:
    """Where two texts part, in words."""
    pairs = enumerate(zip(rendered, needed, strict=False))
    shared = next((at for at, (one, other) in pairs if one != other), min(len(rendered), len(needed)))
    start, stop = max(0, shared - EXCERPT), shared + EXCERPT
    return f"rendered {rendered[start:stop]!r}, needed {needed[start:stop]!r}"


def _prompt(tokenizer: Any, before: str, messages: Sequence[Message], mode: Mode, tools: Tools) -> str:
    """What the model is given to speak after `messages`."""
    if messages:
        return render_prompt(tokenizer, messages, mode, tools)
    # Templates cannot render an empty conversation, so of one that the model opens only the generation prompt is known.
    anybody = [{"role": "user", "content": "?"}]
    opening = render_prompt(tokenizer, anybody, mode).removeprefix(render_history(tokenizer, anybody, mode))
    return before if before.endswith(opening) else opening


def _require_rendered(text: str, messages: Sequence[Message], mode: Mode, tools: Tools) -> None:
    for tool in tools or []:
        if (name := (tool.get("function") or tool)["name"]) not in text:
            raise ContractError(f"{mode}: the tool '{name}' is not rendered")
    position = 0
    for index, message in enumerate(messages):
        for words in _words(message):
            found = text.find(words, position)
            if found < 0:  # some templates write a tool's result as JSON
                found = text.find(json.dumps(words, ensure_ascii=False)[1:-1], position)
            if found < 0:
                raise fault(messages, index, mode, f"is not rendered where it belongs; needed {words[: 2 * EXCERPT]!r}")
            position = found + len(words)


def _words(message: Message) -> Iterator[str]:
    """What has to stand in the text whatever becomes of the turn."""
    if content := (message.get("content") or "").strip():
        yield content
    for call in message.get("tool_calls") or []:
        yield json.dumps((call.get("function") or call)["name"], ensure_ascii=False)[1:-1]


def _no_prompt(
    text: str, span: Span, prompts: Mapping[int, str], messages: Sequence[Message], mode: Mode
) -> ContractError:
    start, end = span
    if not prompts:  # every assistant's turn has been found behind this span
        said = text[start:end]
        others = (index for index, each in enumerate(messages) if each["role"] != "assistant")
        index = next((index for index in others if any(words in said for words in _words(messages[index]))), 0)
        return fault(
            messages, index, mode, f"is trained, though not the model says it; rendered {said[: 2 * EXCERPT]!r}"
        )
    index = min(prompts, key=lambda each: abs(len(prompts[each]) - start))
    problem = "what is trained must follow this turn's prompt as it is at inference"
    return fault(messages, index, mode, f"{problem}; {part_at(text[:start], prompts[index])}")


def _misread(eos_token: str | None, said: str, message: Message, mode: Mode, is_open: bool, is_last: bool) -> str:
    """What is wrong with the trained words of one turn; empty if they read back as the message."""
    if not eos_token or not said.endswith(eos_token):
        return f"what is trained must end with the eos_token; rendered {said[-EXCERPT:]!r}, needed {eos_token!r}"
    parsed = parse_completion(said.removesuffix(eos_token), is_open=is_open)
    thinking = (message.get("reasoning_content") or "").strip() if is_last else ""
    if (parsed.thinking or "") != thinking:
        return f"the thinking reads back otherwise; {part_at(parsed.thinking or '', thinking)}"
    if mode == "reasoning" and not thinking:
        return f"an answer without thinking is trained, which teaches not to think; rendered {said[: 2 * EXCERPT]!r}"
    content, calls = (message.get("content") or "").strip(), message.get("tool_calls") or []
    rest = parsed.answer.removeprefix(content).strip()
    if not parsed.answer.startswith(content) or (rest and not calls):
        return f"the answer reads back otherwise; {part_at(parsed.answer, content)}"
    if calls and _calls_in(rest) != read_calls(calls):
        needed = '<tool_call>{"name": ..., "arguments": {...}}</tool_call>'
        return f"the tool calls do not read back; rendered {rest[: 2 * EXCERPT]!r}, needed each as {needed}"
    return ""


def _calls_in(text: str) -> list[Call]:
    try:
        return find_calls(text)
    except ValueError:
        return []


def _is_in_last_response(messages: Sequence[Message], index: int) -> bool:
    """Whether no user message follows; of such turns the thinking is still in view."""
    return all(message["role"] != "user" for message in messages[index:])
