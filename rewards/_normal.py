"""Texts that say the same to a reader, letter for letter, as one text."""

import re
import unicodedata

_SPACE = re.compile(r"\s+")


def normal(text: str) -> str:
    """The text without differences of white space, of case and of the form of characters (NFKC)."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()
