"""Text of exactly so many tokens.

The tokens of sentences nearly add up, since few tokenizers join across a full stop: what is written by that sum is
counted once, and corrected where the count says otherwise.
"""

from collections.abc import Callable
from typing import TypeVar

from posttrain.errors import UserError

T = TypeVar("T")

_PADS = (" .", ".", " -", "\n", " a")  # one of them is a token of its own wherever text is cut into tokens
_TRIES = 8


def fit(write: Callable[[int, str], T], count: Callable[[T], int], length: int, what: str) -> T:
    """What `write` makes, in exactly `length` tokens.

    Args:
        write: writes hay of so many tokens, as sentences add up, and the padding behind it.
        count: the true number of tokens.
        length: wanted.
        what: in words, for errors.

    Raises:
        UserError: it is longer without any hay, or this tokenizer gives no such text.
    """
    least = count(write(0, ""))
    if least > length:
        raise UserError(f"{what} in {length} tokens: the question alone takes {least}; need a longer text")
    tokens = length - least
    nearest, gap = 0, length - least  # the most hay that leaves a gap
    for _ in range(_TRIES):
        text = write(tokens, "")
        missing = length - count(text)
        if missing == 0:
            return text
        if 0 < missing < gap:
            nearest, gap = tokens, missing
        tokens = max(0, tokens + missing)
    for pad in _PADS:
        repeats = gap
        for _ in range(_TRIES):
            text = write(nearest, pad * repeats)
            missing = length - count(text)
            if missing == 0:
                return text
            repeats = max(0, repeats + missing)
    raise UserError(f"{what} in {length} tokens: this tokenizer gives no text of exactly that length")
