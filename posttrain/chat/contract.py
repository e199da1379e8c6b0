"""What a chat template must keep to, so that what is trained is what the model is asked for at inference.

It is tried out on small conversations, because a user's own data may not show what goes wrong later: rows of one turn
say nothing of the second.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from posttrain.chat.conversations import CONVERSATIONS, Conversation
from posttrain.chat.modes import MODES, Mode
from posttrain.chat.parse import leaves_thinking_open
from posttrain.chat.template import Message, encode_prompt, render_history, render_prompt
from posttrain.chat.training import encode_marked, mark
from posttrain.chat.turns import ContractError, Tools, fault, match_turns, part_at
from posttrain.errors import UserError

QUESTION = {"role": "user", "content": "Which digit is it?"}
THOUGHT = {"role": "assistant", "content": "It is 7.", "reasoning_content": "Count them first."}
SYSTEM = {"role": "system", "content": "Answer in one word."}
TOOL_NAME = "count_digits"
TOOL = {"type": "function", "function": {"name": TOOL_NAME, "description": "", "parameters": {"type": "object"}}}


class Abilities(NamedTuple):
    """What a template can express; it need not be everything, for rows beyond it are refused one by one."""

    modes: tuple[Mode, ...]
    system: bool
    tools: bool

    def __str__(self) -> str:
        """For the plan: `reasoning and non_reasoning, system, tools`."""
        more = [name for name, there in (("system", self.system), ("tools", self.tools)) if there]
        return ", ".join([" and ".join(self.modes), *more])


def check_template(tokenizer: Any) -> Abilities:
    """Check the template of a tokenizer on every conversation that it can express, in each of its modes.

    1. The prompt and what the model says after it are the trained text, and what the model says reads back as its
       thinking, its answer and its tool calls.
    2. Trained is every turn of the last response: from the end of its prompt to its end-of-turn token, nothing else.
    3. The prompt of a turn begins with the conversation as it was rendered up to any earlier user message; the
       thinking before the last user message is not in it.

    Returns:
        What it can express.

    Raises:
        ContractError: names the conversation, the mode and the turn, with what was rendered and what was needed.
        UserError: the template refuses every conversation.
    """
    abilities = _abilities(tokenizer)
    for conversation in CONVERSATIONS:
        has_system = conversation.messages[0]["role"] == "system"
        if (has_system and not abilities.system) or (conversation.tools and not abilities.tools):
            continue
        for mode in abilities.modes:
            try:
                _check_conversation(tokenizer, conversation, mode)
            except ContractError as error:
                raise ContractError(
                    f"the chat template breaks its contract in the conversation '{conversation.name}', {error}; "
                    "mend the template, or take a built-in one as model.chat_template (docs/sft.md, Templates)"
                ) from error
            except UserError:
                continue  # a template may refuse what it cannot say
    return abilities


def _abilities(tokenizer: Any) -> Abilities:
    """What the template does not pass over, nor refuse."""
    direct = {**THOUGHT, "reasoning_content": None}
    calling = {**direct, "tool_calls": [{"type": "function", "function": {"name": TOOL_NAME, "arguments": {}}}]}
    is_left_open = leaves_thinking_open(render_prompt(tokenizer, [QUESTION], "non_reasoning"))
    has = {
        "reasoning": THOUGHT["reasoning_content"] in _text(tokenizer, [QUESTION, THOUGHT], "reasoning"),
        "non_reasoning": not is_left_open and bool(_text(tokenizer, [QUESTION, direct], "non_reasoning")),
    }
    modes = tuple(mode for mode in MODES if has[mode])
    if not modes:
        mark(tokenizer, [QUESTION, direct], "non_reasoning")  # says why, where the template itself does
        raise ContractError(
            "the chat template has neither mode: it drops the thinking of a reasoning answer and leaves the thinking "
            "open before a direct one; take a built-in one as model.chat_template (docs/sft.md, Templates)"
        )
    return Abilities(
        modes,
        system=bool(_text(tokenizer, [SYSTEM, QUESTION, THOUGHT], modes[0])),
        tools=TOOL_NAME in _text(tokenizer, [QUESTION, THOUGHT], modes[0], [TOOL])
        or TOOL_NAME in _text(tokenizer, [QUESTION, calling], modes[-1]),
    )


def _text(tokenizer: Any, messages: Sequence[Message], mode: Mode, tools: Tools = None) -> str:
    """The conversation as it is trained; empty where the template refuses it or marks nothing in it."""
    try:
        return mark(tokenizer, messages, mode, tools).text
    except UserError:
        return ""


def _check_conversation(tokenizer: Any, conversation: Conversation, mode: Mode) -> None:
    messages, tools = conversation.in_mode(mode), conversation.tools
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    for user, end in pairwise([*users, len(messages)]):
        _check_row(tokenizer, messages[:end], user, mode, tools)
    for earlier, user in pairwise(users):
        needed = render_history(tokenizer, messages[: earlier + 1], mode, tools)
        prompt = render_prompt(tokenizer, messages[: user + 1], mode, tools)
        if not prompt.startswith(needed):
            problem = f"the next turn's prompt must begin with it; {part_at(prompt, needed)}"
            raise fault(messages, earlier, mode, problem)
        for index in range(earlier, user):
            thinking = messages[index].get("reasoning_content")
            if thinking and thinking in prompt:
                problem = f"its thinking is still in the prompt after the next user message; rendered {thinking!r}"
                raise fault(messages, index, mode, problem)


def _check_row(tokenizer: Any, messages: Sequence[Message], user: int, mode: Mode, tools: Tools) -> None:
    """One row of training data, whose last response follows the message `user`."""
    marked = mark(tokenizer, messages, mode, tools)
    turns = match_turns(tokenizer, *marked, messages, mode, tools)
    for index in range(user + 1, len(messages)):
        if messages[index]["role"] == "assistant" and index not in turns:
            raise fault(messages, index, mode, "it belongs to the last response and is not trained")
    first = min(turns)
    input_ids, trained = encode_marked(tokenizer, marked)
    prompt_ids = encode_prompt(tokenizer, render_prompt(tokenizer, messages[:first], mode, tools))
    if input_ids[: trained.index(True)] != prompt_ids:
        raise fault(messages, first, mode, "its prompt has other tokens in training than at inference")
