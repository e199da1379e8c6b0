"""Tell thinking from answer while a completion is still being written."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from posttrain.chat.parse import CLOSE, OPEN


class Part(NamedTuple):
    """A further piece of the thinking or of the answer."""

    kind: Literal["thinking", "answer"]
    text: str


class ThinkingSplitter:
    """Takes the text of a completion piece by piece and gives it back without the tags, as soon as it is clear.

    Joined and stripped, the parts are what `parse_completion` makes of the whole. One case is out of reach: a closing
    tag that nothing has opened, where what came before turns into thinking afterwards.

    Args:
        is_open: whether the prompt leaves the thinking open, so that the completion begins with it.
    """

    def __init__(self, *, is_open: bool) -> None:
        self._kind: Literal["thinking", "answer"] = "thinking" if is_open else "answer"
        self._held = ""  # what has come and may be, or may become, a tag
        self._at_start = True  # of the completion: only there does an opening tag mean something
        self._is_blank = True  # nothing but white space in this kind so far

    def feed(self, text: str) -> Iterator[Part]:
        """The parts that `text`, the next piece, makes clear."""
        self._held += text
        if self._at_start:
            self._held = self._held.lstrip()
            if OPEN.startswith(self._held) and self._held != OPEN:
                return
            self._at_start = False
            if self._held.startswith(OPEN):
                self._kind, self._held = "thinking", self._held.removeprefix(OPEN)
        if self._kind == "thinking":
            thinking, tag, rest = self._held.partition(CLOSE)
            if not tag:
                kept = _overlap(thinking, CLOSE)
                yield from self._part(thinking[: len(thinking) - kept])
                self._held = thinking[len(thinking) - kept :]
                return
            yield from self._part(thinking)
            self._kind, self._held, self._is_blank = "answer", rest, True
        yield from self._part(self._held)
        self._held = ""

    def end(self) -> Iterator[Part]:
        """The parts that only the end of the completion makes clear: half a tag is none."""
        yield from self._part(self._held)
        self._held = ""

    def _part(self, text: str) -> Iterator[Part]:
        if self._is_blank:
            text = text.lstrip()
        if text:
            self._is_blank = False
            yield Part(self._kind, text)


def _overlap(text: str, tag: str) -> int:
    """The length of the longest end of `text` that is a beginning of `tag`, and not all of it."""
    return next((length for length in range(len(tag) - 1, 0, -1) if text.endswith(tag[:length])), 0)
