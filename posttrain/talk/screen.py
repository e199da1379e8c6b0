"""Answers go to standard output, all else beside it: `posttrain generate ... > answer.txt` holds the answer alone."""

import sys
import unicodedata

from rich.console import Console

from posttrain.chat import Part


class Screen:
    """Shows a reply part by part: thinking dim and on standard error, the answer plain."""

    def __init__(self) -> None:
        self._beside = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)
        self._is_thinking = False

    def show(self, part: Part) -> None:
        """A further part of the reply."""
        text = _printable(part.text)
        if part.kind == "thinking":
            self._is_thinking = True
            self._beside.print(text, style="dim", end="")
            return
        if self._is_thinking:
            self._beside.print("\n")
            self._is_thinking = False
        sys.stdout.write(text)
        sys.stdout.flush()

    def end(self) -> None:
        """The reply is over."""
        if self._is_thinking:
            self._beside.print()
            self._is_thinking = False
        sys.stdout.write("\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A line that the model did not write."""
        self._beside.print(text, style="dim italic")


def _printable(text: str) -> str:
    """Without control characters: a model must not command the terminal."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
