"""Does a text go in circles? Degeneration, in the one form that can be told without a judge.

A text loops when it has at least one of these:

- a passage said over and over without a pause: at least `MIN_REPEATS` times back to back, `MIN_SPAN` words in all, the
  passage being 1 to `LONGEST_PASSAGE` words;
- lines that say nothing new: at least `MIN_LINES` lines with a letter or a digit in them, of which more than half
  (`REPEATED_SHARE`) are the same as an earlier one.

A word is a run of letters and digits, or one sign; in scripts without spaces each character is one. What is said again
in other words is no loop, and neither are a few words in a row ("no, no, no") or a short table of zeros.
"""

import re

import numpy as np
from numpy.typing import NDArray

MIN_REPEATS = 4
MIN_SPAN = 48  # words
LONGEST_PASSAGE = 200  # words
MIN_LINES = 12
REPEATED_SHARE = 0.5

_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")
_SAYS_SOMETHING = re.compile(r"\w")


def is_looping(text: str) -> bool:
    """Whether `text` loops, as the module says."""
    return repeats_a_passage(text) or repeats_its_lines(text)


def repeats_a_passage(text: str) -> bool:
    """A passage with a letter or a digit in it, back to back."""
    words = _WORD.findall(text)
    if len(words) < MIN_SPAN:
        return False
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words])
    for length in range(1, min(LONGEST_PASSAGE, len(ids) // MIN_REPEATS) + 1):
        start, run = _longest_run(ids[length:] == ids[:-length])
        passage = words[start : start + length]
        is_long = run + length >= max(MIN_SPAN, MIN_REPEATS * length)
        if is_long and any(map(_SAYS_SOMETHING.match, passage)):
            return True
    return False


def repeats_its_lines(text: str) -> bool:
    """Most lines have been there before."""
    lines = [line.strip() for line in text.splitlines() if _SAYS_SOMETHING.search(line)]
    return len(lines) >= MIN_LINES and 1 - len(set(lines)) / len(lines) > REPEATED_SHARE


def _longest_run(holds: NDArray[np.bool_]) -> tuple[int, int]:
    """Start and length of the longest run of True; length 0 where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(np.int8)))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    if not len(starts):
        return 0, 0
    longest = int(lengths.argmax())
    return int(starts[longest]), int(lengths[longest])
