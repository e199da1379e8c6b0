"""`posttrain chat`: a conversation in the terminal, or from a pipe a line a turn."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from posttrain.chat import Message, Mode
from posttrain.errors import UserError
from posttrain.talk.screen import Screen
from posttrain.talk.session import Session, open_session

COMMANDS = """\
/think      think before answering, from now on (with a question behind it: and answer that)
/no_think   answer at once, from now on (likewise)
/budget N   close the thinking after N tokens; /budget off: never
/reset      begin a new conversation
/quit       leave (^D too; ^C stops a reply)"""
MODE_COMMANDS: dict[str, Mode] = {"/think": "reasoning", "/no_think": "non_reasoning"}


def run_chat(options: argparse.Namespace) -> None:
    """Talk until the input ends.

    Raises:
        UserError: as in `open_session`; what is wrong later is said and the conversation goes on.
    """
    with open_session(options) as session:
        chat = Chat(session, options)
        if sys.stdin.isatty():
            chat.screen.note(COMMANDS)
        for line in _lines():
            if line == "/quit":
                return
            chat.take(line)


class Chat:
    """The conversation so far, and how it goes on."""

    def __init__(self, session: Session, options: argparse.Namespace) -> None:
        self.screen = Screen()
        self._session = session
        self._mode: Mode = options.mode
        self._budget: int | None = options.thinking_budget
        self._start: list[Message] = [{"role": "system", "content": options.system}] if options.system else []
        self._messages = list(self._start)

    def take(self, line: str) -> None:
        """A line of the user: a command or a question."""
        command, _, rest = line.partition(" ")
        if command in MODE_COMMANDS:
            self._mode = MODE_COMMANDS[command]
            self.screen.note(f"mode: {self._mode}")
            line = rest.strip()
        elif command == "/budget":
            self._set_budget(rest.strip())
            return
        elif command == "/reset":
            self._messages = list(self._start)
            self.screen.note("a new conversation")
            return
        elif command.startswith("/"):
            self.screen.note(f"no command {command}; there are\n{COMMANDS}")
            return
        if line:
            self._ask(line)

    def _set_budget(self, word: str) -> None:
        if word != "off" and not word.isdecimal():
            self.screen.note(f"/budget: got {word!r}, need a number of tokens, or off")
            return
        self._budget = None if word == "off" else int(word)
        self.screen.note(f"thinking budget: {word}")

    def _ask(self, question: str) -> None:
        """The turn is remembered as a whole or, where there is no reply, not at all."""
        messages: list[Message] = [*self._messages, {"role": "user", "content": question}]
        try:
            with _interruptible() as is_stopped:
                reply = self._session.reply(messages, self._mode, self._budget, self.screen.show, is_stopped)
        except UserError as error:
            self.screen.note(f"error: {error}")
            return
        self.screen.end()
        if reply.is_truncated:
            self.screen.note("cut off at the token limit (--max-new-tokens)")
        # The template leaves out the thinking of earlier turns.
        answer = {"role": "assistant", "content": reply.answer, "reasoning_content": reply.thinking}
        self._messages = [*messages, answer]


def _lines() -> Iterator[str]:
    """What the user types, or what a pipe says, without blank lines."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        import readline  # noqa: F401  (arrow keys and history in `input`)
    while True:
        try:
            line = input("> ") if is_terminal else input()
        except (EOFError, KeyboardInterrupt):
            return
        if line.strip():
            yield line.strip()


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Within it ^C only asks to stop, so that an engine is never left in the middle of a step."""
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    try:
        yield lambda: bool(interrupts)
    finally:
        signal.signal(signal.SIGINT, before)
