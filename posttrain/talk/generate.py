"""`posttrain generate`: one prompt, one reply."""

import argparse
import sys

from posttrain.chat import Message, Part
from posttrain.errors import UserError
from posttrain.talk.screen import Screen
from posttrain.talk.session import open_session


def run_generate(options: argparse.Namespace) -> None:
    """Print the answer, and beside it the thinking.

    Raises:
        UserError: no prompt, or as in `open_session` and `Session.reply`.
    """
    prompt = sys.stdin.read().strip() if options.prompt is None else options.prompt
    if not prompt:
        raise UserError("got an empty prompt; give one in quotes or through standard input")
    messages: list[Message] = [{"role": "system", "content": options.system}] if options.system else []
    messages.append({"role": "user", "content": prompt})
    parts: list[Part] = []
    screen = Screen()
    with open_session(options) as session:
        show = screen.show if options.stream else parts.append
        reply = session.reply(messages, options.mode, options.thinking_budget, show)
        for part in parts:
            screen.show(part)
        screen.end()
    if reply.is_truncated:
        screen.note("cut off at the token limit (--max-new-tokens)")
